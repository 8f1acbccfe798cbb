"""What TensorBoard's HPARAMS tab is given, though the writing was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablation import hparams
from tests.ablation.synthetic import run, study
from tests.trainer import Killed

tensorboard = pytest.importorskip("torch.utils.tensorboard")
accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_a_record_is_whole_though_its_first_writing_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(tmp_path, 0.4, lr_policy="clr", optim="sgd", seed=1, lr_arg=["cycles=2"])

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(tensorboard.SummaryWriter, "add_scalar", kill)
        with pytest.raises(Killed):
            hparams.write(study(tmp_path, [made]))
    hparams.write(study(tmp_path, [made]))
    folders = list((tmp_path / "hparams").iterdir())
    assert [folder.name for folder in folders] == [made.name]
    events = accumulator.EventAccumulator(str(folders[0])).Reload()
    assert events.Scalars("final/mAP50-95")[0].value == pytest.approx(0.4)
    said = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"cycles=2" in said
    assert b"[" not in said
