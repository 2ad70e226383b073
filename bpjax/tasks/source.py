"""Rows of TFDS datasets, read by random access from array_record files and without TensorFlow."""

import dataclasses
from pathlib import Path
from typing import Any

from bpjax.errors import UserError


def import_tfds() -> Any:
    """TFDS, imported only where data is read or prepared: the embedded task works without it.

    Raises:
      UserError: TFDS is not installed.
    """
    try:
        import tensorflow_datasets as tfds
        import tensorflow_datasets.summarization  # registers the builders
        import tensorflow_datasets.text
    except ImportError as error:
        raise UserError(
            f"tensorflow-datasets does not import ({error}); expected it for every task but the "
            "embedded one, pip install tensorflow-datasets"
        ) from error
    return tfds


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a task's splits come from.

    Attributes:
      dataset: TFDS name with its config, such as "glue/sst2".
      task: name in the registry, for the advice in errors.
      data_dir: TFDS folder; None is TFDS's own default.
      download: let TFDS fetch and prepare the public dataset when `data_dir` lacks it.
      mend: how the dataset is prepared without, for errors; empty: by `bpjax data prepare`.
    """

    dataset: str
    task: str
    data_dir: str | None
    download: bool
    mend: str = ""

    def read(self, split: str) -> list[dict[str, Any]]:
        """All rows of a split, text as bytes.

        TFDS shuffles by key when it writes. `bpjax data prepare` gives the public builders' keys,
        so that the order is the same whichever wrote the files.

        Raises:
          UserError: TFDS is not installed, or the dataset is not in `data_dir` and not to be
            downloaded, or cannot be.
        """
        tfds = import_tfds()
        builder = tfds.builder(self.dataset, data_dir=self.data_dir, file_format="array_record")
        if not builder.is_prepared():
            place = Path(str(builder.data_path))  # DATA_DIR/glue/sst2/2.0.0
            folder = self.data_dir or place.parents[1 + self.dataset.count("/")]
            mend = self.mend or (
                f"run `bpjax data prepare {self.task} --source=FOLDER --data_dir={folder}` on the "
                "official files"
            )
            if not self.download:
                raise UserError(
                    f"{self.dataset} is not in data_dir {folder}: expected a prepared TFDS "
                    f"dataset; {mend}, or set download=True"
                )
            try:
                builder.download_and_prepare()
            except Exception as error:  # of the network, of TFDS, of TensorFlow that is not there
                told = " ".join(str(error).split())[:120]
                raise UserError(
                    f"{self.dataset}: TFDS cannot prepare it in {folder} ({told}); expected a "
                    f"public dataset that can be fetched; {mend}"
                ) from error
        source = builder.as_data_source(split=split)
        # One batched read: row by row it is seven times slower.
        return source.__getitems__(range(len(source)))
