"""A version into a folder that Hugging Face's tools or MLflow's can store, and any registry can import.

Owns that the folder is written as a whole or not at all. Does not know what its files say.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from compressors.artifact.folder import ARTIFACT, CONFIG, push
from deploy import pipeline as pipelines
from deploy.config import Settings
from deploy.operate.registry.sign import opened
from deploy.operate.versions import lineage
from deploy.operate.versions.exchange import mlmodel
from deploy.operate.versions.exchange.card import card
from deploy.operate.versions.exchange.passport import Passport, write
from deploy.registry.kinds import CHAMPIONS
from streams.errors import ConfigError

Format: TypeAlias = Literal["huggingface", "mlflow"]
CARD = "README.md"


def export(path: Path, settings: Settings, version: int, to: Path, layout: Format = "huggingface") -> Passport:
    """Write a version into the new folder `to`; return what that says of it.

    The artifact is the registry's, byte for byte. Its answers are those of `served`, less the live intercept and the
    live experts', which are the feed's and no version's.

    Raises:
        ConfigError: there is no such version, `to` is there already or cannot be made, or mlflow is not installed.
        Untrusted: no trusted key has signed the version.
        RegistryError: its artifact is missing or damaged.
    """
    registry, shown = opened(path, settings), lineage.show(path, settings, version)
    registry.record(CHAMPIONS, version)  # raises where nobody has signed it
    passport = Passport(
        feed=registry.home.name,
        version=version,
        artifact=shown.version.artifact,
        record=(registry.read(CHAMPIONS, version) or b"").decode(),
        about=msgspec.to_builtins(shown),
    )
    if os.path.lexists(to):
        raise ConfigError(f"{to} is there already: --to is a new folder")
    if not to.absolute().parent.is_dir():
        raise ConfigError(f"cannot write {to}: there is no folder {to.absolute().parent}")
    draft = to.absolute().with_name(f".{to.name}.{os.getpid()}")
    try:
        factory = pipelines.load(path).model if layout == "huggingface" else None
        push(registry.get(passport.artifact), draft, factory)
        write(draft, passport)
        (draft / CARD).write_text(card(passport.feed, shown, passport.artifact), encoding="utf-8")
        if layout == "mlflow":
            mlmodel.write(draft, passport)
        elif not (draft / CONFIG).exists():
            (draft / CONFIG).write_text(json.dumps({"model_type": "shadowstream", "artifact": ARTIFACT}) + "\n")
        draft.rename(to)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return passport
