"""Write the package's compact copy of DICOM PS3.15 Table E.1-1 from the standard's table as JSON.

    python tools/deidentify_table.py confidentiality_profile_attributes.json > src/bedside/prepare/deidentify/table.json

The input has one object an attribute, as innolitics' dicom-standard publishes it: id, name, basicProfile, and for each
option (rtnUIDsOpt, cleanDescOpt …) K or C. Only the facts are kept: tag, action, and the options' letters.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

OPTIONS = {
    "rtnUIDsOpt": "retain_uids",
    "rtnLongFullDatesOpt": "dates_full",
    "rtnLongModifDatesOpt": "dates_shift",
    "rtnDevIdOpt": "retain_device",
    "rtnInstIdOpt": "retain_institution",
    "rtnPatCharsOpt": "retain_patient_characteristics",
    "rtnSafePrivOpt": "retain_safe_private",
    "cleanDescOpt": "clean_descriptors",
    "cleanGraphOpt": "clean_graphics",
    "cleanStructContOpt": "clean_structured_content",
}
PRIVATE = "ggggeeee"


def compact(rows: list[dict[str, str]]) -> dict[str, object]:
    """The table as {tag: [action, {option: letter}]}; repeating groups keep their x."""
    table = {}
    for row in rows:
        tag = PRIVATE if row["id"].startswith(PRIVATE) else row["id"].lower()
        table[tag] = [row["basicProfile"], {name: row[key] for key, name in OPTIONS.items() if row.get(key)}]
    return {"format": 1, "source": "DICOM PS3.15 Table E.1-1", "attributes": dict(sorted(table.items()))}


def main() -> None:
    """Print one line an attribute, so that a new edition of the standard reads as a small change."""
    made = compact(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    lines = [f"  {json.dumps(tag)}: {json.dumps(value)}" for tag, value in made.pop("attributes").items()]  # type: ignore[union-attr]
    head = json.dumps(made)[:-1]
    print(f'{head}, "attributes": {{\n' + ",\n".join(lines) + "\n}}")


if __name__ == "__main__":
    main()
