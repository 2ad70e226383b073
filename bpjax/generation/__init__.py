"""How a model writes texts: greedy and beam search, token for token as transformers does."""

from bpjax.generation.search import generate as generate
from bpjax.generation.search import settings_of as settings_of
from bpjax.generation.step import Generated as Generated
from bpjax.generation.write import decode as decode
from bpjax.generation.write import write as write
