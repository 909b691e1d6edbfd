"""What the tests of findings share: the doctor must know of every pair that a fit refuses."""

from __future__ import annotations

from typing import Any

import pytest

from jensen.inference import SVI
from jensen.inference.doctor import Report, examine
from jensen.inference.errors import DataError, ModelError


@pytest.fixture
def doctor_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair that `SVI.fit` refuses in this test is examined, and the doctor must object to it too."""
    fit, examining = SVI.fit, False

    def checked(self: SVI, model: Any, data: Any, **options: Any) -> Any:
        nonlocal examining
        try:
            return fit(self, model, data, **options)
        except (ModelError, DataError) as error:
            if examining:  # the doctor begins a fit itself
                raise
            examining = True
            try:
                report = examine(model, self.guide, data)
            finally:
                examining = False
            if not _objects(report, error, self):
                pytest.fail(f"the doctor finds nothing wrong where a fit says: {error}\n{report}")
            raise

    monkeypatch.setattr(SVI, "fit", checked)


def _objects(report: Report, error: ModelError | DataError, method: SVI) -> bool:
    """The same finding; or, where the fit's own options are at fault, the row of the objective."""
    if error.finding is not None:
        return (error.finding.code, error.finding.where) in {(fault.code, fault.where) for fault in report.faults}
    row = next(row for row in report.objectives if row.name == type(method.objective).__name__)
    return bool(report.faults) or not (row.mini_batch if method.batch_size else row.full_batch)
