"""Records what sentence-transformers makes of the models of tests/sentence_models.py.

python tests/golden/make_sentence_embeddings.py, with the extra `torch` and sentence-transformers,
from the project's folder.
"""

import json
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent)]

from sentence_models import TEXTS, TOKENIZER, WAYS, embedder  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402

from bpjax.exports.formats import export  # noqa: E402

if __name__ == "__main__":
    found = {}
    for way in WAYS:
        folder = pathlib.Path(tempfile.mkdtemp()) / "model"
        export("hf", *embedder(way=way), TOKENIZER, folder)
        model = SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")
        found[way] = [[round(float(x), 6) for x in row] for row in model.encode(TEXTS)]
    (HERE / "sentence_embeddings.json").write_text(json.dumps(found, indent=0) + "\n")
