"""Where an export comes from: software, model and its hash, options, input, as flat text for any format's metadata.

Guarantees: the same analysis gives the same text; keys are plain ASCII; values are text (JSON where they nest).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.inference.analysis import Analysis


def provenance(analysis: Analysis) -> dict[str, str]:
    """Metadata of an analysis for the files made from it."""
    card, info = analysis.card, analysis.info
    facts = {
        "software": f"{info.program} {info.program_version}",
        "model": card.name,
        "model_title": card.title,
        "model_sha256": info.model.sha256,
        "model_licence": card.licence,
        "classes": ", ".join(f"{code} {cls.name}" for code, cls in enumerate(card.classes)),
        "options": info.options.model_dump_json(),
        "resolved": info.resolved.model_dump_json(),
        "scene": info.scene.name,
        "input": json.dumps(info.scene.identity, sort_keys=True),
        "device": info.device,
    }
    return {key: value for key, value in facts.items() if value}
