"""What the data is: immutable, content-addressed tables of patients, and where they are kept.

A `Cohort` is a table with one row a unit of prediction, a `Schema` of typed fields, and the lineage that made it. Its
digest depends on the content alone. A `Store` keeps cohorts and bytes by digest, a `Workspace` is the folder of one
installation, a `Split` puts each subject, whole, on one side, and `forget` removes a subject.
"""

from bedside.cohort.atomic import atomic_write
from bedside.cohort.cohort import EVENT_COLUMNS, Cohort, Origin
from bedside.cohort.digest import canonical_json, column_digest, json_digest, sha256_hex, table_digest
from bedside.cohort.files import Files, FolderFiles, MemoryFiles
from bedside.cohort.forget import Forgotten, forget
from bedside.cohort.manifest import Manifest
from bedside.cohort.run import Run
from bedside.cohort.schema import FILE_KINDS, Field, Schema, physical_type
from bedside.cohort.split import Fold, Split, hold_out, k_fold, refuse_leak
from bedside.cohort.store import Store
from bedside.cohort.workspace import Config, Workspace

__all__ = [
    "EVENT_COLUMNS",
    "FILE_KINDS",
    "Cohort",
    "Config",
    "Field",
    "Files",
    "Fold",
    "FolderFiles",
    "Forgotten",
    "Manifest",
    "MemoryFiles",
    "Origin",
    "Run",
    "Schema",
    "Split",
    "Store",
    "Workspace",
    "atomic_write",
    "canonical_json",
    "column_digest",
    "forget",
    "hold_out",
    "json_digest",
    "k_fold",
    "physical_type",
    "refuse_leak",
    "sha256_hex",
    "table_digest",
]
