import os
from pathlib import Path

import pytest
import yaml

from nsmt.evaluation.published import PublishedSettings

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def oracle() -> Path:
    """The folder that NSMT_ORACLE names; it holds ec30/."""
    folder = Path(os.environ.get("NSMT_ORACLE", ""))
    if not (folder / "ec30" / "scores.json").is_file():
        pytest.skip("no published outputs: set NSMT_ORACLE to a folder that holds ec30/")
    return folder


@pytest.fixture(scope="session")
def ec30() -> PublishedSettings:
    text = (REPOSITORY / "conf" / "eval" / "paper_ec30.yaml").read_text(encoding="utf-8")
    return PublishedSettings.model_validate(yaml.safe_load(text))
