"""Official files in a local folder → TFDS array_record datasets, without TensorFlow.

They carry the public builders' names, versions, features and keys.
"""

import contextlib
import dataclasses
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bpjax.errors import UserError
from bpjax.tasks import official
from bpjax.tasks.glue_files import FILES
from bpjax.tasks.source import import_tfds


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A public TFDS dataset that can be prepared from official files.

    Attributes:
      name: of the public builder.
      config: of the public builder.
      version: of the public builder, so that `tfds.builder` finds what was prepared here.
      read: the rows of each split, from the folder of the official files.
      features: the public builder's features.
    """

    name: str
    config: str
    version: str
    read: Callable[[Path], dict[str, list[official.Keyed]]]
    features: Callable[[], dict[str, Any]]


def _glue(name: str) -> Dataset:
    files = FILES[name]

    def features() -> dict[str, Any]:
        tfds = import_tfds().features
        label = tfds.ClassLabel(names=list(files.labels)) if files.labels else np.float32
        return {**{text: tfds.Text() for text in files.texts}, "label": label, "idx": np.int32}

    return Dataset("glue", name, "2.0.0", files.read, features)


def _squad(version: str, read: Callable[[Path], list[official.Keyed]]) -> Dataset:
    def read_splits(source: Path) -> dict[str, list[official.Keyed]]:
        files = {"train": f"train-{version}.json", "validation": f"dev-{version}.json"}
        return {split: read(source / name) for split, name in files.items()}

    def features() -> dict[str, Any]:
        tfds = import_tfds().features

        def answers() -> Any:
            return tfds.Sequence({"text": tfds.Text(), "answer_start": np.int32})

        texts = {name: tfds.Text() for name in ("title", "context", "question")}
        found = {"id": np.str_, **texts, "answers": answers()}
        if version == "v2.0":
            found |= {"plausible_answers": answers(), "is_impossible": np.bool_}
        return found

    return Dataset("squad", version, "3.0.0", read_splits, features)


DATASETS = {
    **{name: _glue(name) for name in FILES},
    "squad": _squad("v1.1", official.read_squad),
    "squad_v2": _squad("v2.0", official.read_squad_v2),
}


def prepare(task: str, source: Path, data_dir: Path) -> None:
    """Turns a task's official files into the TFDS dataset that the task reads.

    All files are read and checked before anything is written, and TFDS renames the finished folder
    into place: a failure leaves no dataset behind.

    Args:
      task: a GLUE task (train.tsv, dev.tsv, test.tsv; of mnli dev_matched.tsv and so on) "squad"
        (train-v1.1.json, dev-v1.1.json) or "squad_v2" (train-v2.0.json, dev-v2.0.json).
      source: folder of those files.
      data_dir: TFDS folder, made if absent; the dataset goes to data_dir/NAME/CONFIG/VERSION.

    Raises:
      UserError: unknown task, missing or malformed file, a dataset that is already there, a
        data_dir that cannot be written.
    """
    if task not in DATASETS:
        raise UserError(f"task {task!r}: expected one of {', '.join(DATASETS)}; choose one of them")
    dataset = DATASETS[task]
    place = Path(dataset.name, dataset.config, dataset.version)
    target = data_dir / place
    if target.exists():
        raise UserError(
            f"{target} exists: expected no dataset there, for a prepared one is never overwritten; "
            "delete that folder to prepare it again"
        )
    splits = dataset.read(source)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".prepare-") as scratch:
            _write(dataset, splits, Path(scratch))
            target.parent.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / place).rename(target)
    except OSError as error:
        raise UserError(
            f"data_dir {data_dir}: cannot be written ({error.strerror}), expected a writable "
            "folder; choose another"
        ) from error


def _write(dataset: Dataset, splits: dict[str, list[official.Keyed]], folder: Path) -> None:
    """Writes a dataset under `folder` in TFDS's layout."""
    tfds = import_tfds()
    title = f"{dataset.name}/{dataset.config}"

    parent: Any = tfds.core.GeneratorBasedBuilder

    class Builder(parent, skip_registration=True):  # type: ignore[call-arg]
        name = dataset.name
        VERSION = tfds.core.Version(dataset.version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=dataset.config, description=title)]

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{title}, prepared from the official files.",
                features=tfds.features.FeaturesDict(dataset.features()),
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[official.Keyed]]:
            return {split: iter(rows) for split, rows in splits.items()}

        def _generate_examples(self) -> Iterator[official.Keyed]:
            raise AssertionError("every split is given as rows")

    tfds.disable_progress_bar()
    builder = Builder(config=dataset.config, data_dir=folder, file_format="array_record")
    # TFDS announces a download of unknown size, which is not what happens.
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(download_dir=folder / "downloads")
