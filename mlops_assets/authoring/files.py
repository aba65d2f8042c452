"""Writing the three files of a use case: all of them, checked, or none.

Each is written beside the project first and then renamed into its place. If the project does not
load with them, they are taken out again, and what was there before is put back.
"""

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from mlops_assets.authoring.draft import Draft
from mlops_assets.authoring.features_text import docs_text, features, sql_text
from mlops_assets.authoring.spec_text import spec_text
from mlops_assets.lib.features.dbt_project import PROJECT_DIR, feature_model, prepare
from mlops_assets.lib.features.feature_check import check_features, sql_path
from mlops_assets.lib.spec.specs import DEFS, load_documents


def texts(draft: Draft) -> dict[Path, str]:
    """What is written where; the spec first, so that a half-written use case says what it lacks."""
    made = features(draft)
    sql = sql_path(draft.name)
    return {
        DEFS / draft.name / "defs.yaml": spec_text(draft),
        sql: sql_text(draft, made),
        sql.with_suffix(".yml"): docs_text(draft, made),
    }


def write(use_case: str, files: Mapping[Path, str], *, replace: bool) -> None:
    """Write the files of a use case, and make sure that the project loads with them.

    Args:
        use_case: Its name.
        files: Text by path.
        replace: Write over files that are there.

    Raises:
        FileExistsError: If one is there and is not to be replaced.
        SpecError: If the spec or the SQL has mistakes.
        FeatureModelError: If dbt cannot parse the project.
    """
    there = [path for path in files if path.exists()]
    if there and not replace:
        shown = ", ".join(map(str, there))
        raise FileExistsError(f"{shown}: there already; --force writes over it")
    staging = PROJECT_DIR / "target" / f"new-{use_case}-{uuid.uuid4().hex}"
    staging.mkdir(parents=True)
    try:
        for number, (path, text) in enumerate(files.items()):
            (staging / str(number)).write_text(text, encoding="utf-8")
            if path.exists():
                shutil.copy2(path, staging / f"{number}.before")
        try:
            for number, path in enumerate(files):
                path.parent.mkdir(parents=True, exist_ok=True)
                (staging / str(number)).replace(path)
            _check(use_case)
        except BaseException:
            _put_back(use_case, list(files), staging)
            raise
    finally:
        shutil.rmtree(staging)


def _check(use_case: str) -> None:
    document, spec = load_documents()[use_case]
    check_features(document, spec)
    feature_model(prepare(spec.name, spec.contract), spec.name)


def _put_back(use_case: str, files: list[Path], staging: Path) -> None:
    for number, path in enumerate(files):
        before = staging / f"{number}.before"
        if before.exists():
            before.replace(path)
            continue
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
    if not files[0].exists():
        (PROJECT_DIR / "generated" / f"{use_case}.yml").unlink(missing_ok=True)
