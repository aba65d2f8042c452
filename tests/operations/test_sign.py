"""Another key signs what serves and what may serve again, and nothing that was changed."""

from pathlib import Path

import pytest

from mlops_assets.cli import main
from mlops_assets.lib.bundles.signing import KEY_VARIABLE, SigningKey
from serving.bundle.signature import read_signature
from tests.rollout.small import Small
from tests.serving.bundles import USE_CASE


def test_a_new_key_signs_the_champion_and_the_former_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Small(tmp_path, {})
    made.crowned()
    made.ledger.append("promoted", made.version(2) | {"decision_of": 2})
    made.version(3)  # of which the ledger knows nothing
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert main(["keys", "sign", USE_CASE]) == 1
    assert KEY_VARIABLE in capsys.readouterr().err
    for _ in range(2):  # the second key takes the place of the first
        key = SigningKey.new()
        monkeypatch.setenv(KEY_VARIABLE, key.private)
        assert main(["keys", "sign", USE_CASE]) == 0
        assert capsys.readouterr().out.count(f"is signed by the key {key.id}") == 2
        signed = {n: read_signature(built.folder) for n, built in made.built.items()}
        assert signed == {n: key.sign(made.built[n].digest) for n in "12"} | {"3": None}
    (made.built["2"].folder / "features.sql").write_text("select 1")
    assert main(["keys", "sign", USE_CASE]) == 1
    assert "features.sql: expected sha256" in capsys.readouterr().err
