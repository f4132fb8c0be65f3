"""What kind of scene lies where: windows through a classifier, their answers as cells of a grid."""
