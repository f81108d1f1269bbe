"""The file `MLmodel`, which makes a folder a model of MLflow's, with a flavor of ours.

Owns the flavor. There is none of MLflow's own beside it (`python_function`): to answer it would have to import the code
that a file names. Loads mlflow, an extra, when it is needed.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from compressors.artifact.folder import ARTIFACT
from deploy.operate.versions.exchange.passport import PASSPORT, Passport
from streams.errors import ConfigError

MLMODEL, FLAVOR = "MLmodel", "shadowstream"


def write(folder: Path, passport: Passport) -> None:
    """Make a folder with an exported version one of MLflow's.

    Raises:
        ConfigError: mlflow is not installed.
    """
    said = {"feed": passport.feed, "version": passport.version, "evidence": passport.about["version"]["evidence"]}
    made = _model()(metadata=said, model_uuid=passport.artifact[:32])
    made.add_flavor(FLAVOR, artifact=ARTIFACT, passport=PASSPORT, sha256=passport.artifact)
    made.save(str(folder / MLMODEL))


def digest(folder: Path) -> str | None:
    """Return the SHA-256 that a folder of MLflow's names; None if the folder is none of MLflow's.

    Raises:
        ConfigError: mlflow is not installed, or the folder holds another kind of model.
    """
    if not (folder / MLMODEL).is_file():
        return None
    model = _model()
    try:
        flavors = model.load(str(folder)).flavors
    except Exception as wrong:  # noqa: BLE001 it raises whatever its parser does
        raise ConfigError(f"{folder / MLMODEL} cannot be read: {str(wrong).partition(chr(10))[0]}") from None
    ours = flavors.get(FLAVOR)
    if not isinstance(ours, dict) or ours.get("artifact") != ARTIFACT:
        raise ConfigError(
            f"{folder} is an MLflow model of {', '.join(flavors) or 'no flavor'}, not of {FLAVOR}: only what "
            "`shadowstream export --format mlflow` wrote can be imported"
        )
    return str(ours.get("sha256"))


def _model() -> Any:
    try:
        return import_module("mlflow.models").Model
    except ImportError as wrong:
        raise ConfigError(f"MLflow's format needs the extra: pip install 'shadowstream[mlflow]' ({wrong})") from None
