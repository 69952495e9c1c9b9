"""A row has the same logits alone and in any batch, in every family that is accepted; the others are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification
from transformers.models.bert.tokenization_bert import BertTokenizer

from pipeline.core.errors import UserError
from pipeline.data import batches
from pipeline.models import load_model, model_inputs
from pipeline.training import padding

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
BEHIND_PADDING = {"max_position_embeddings": 41}  # of which 40 are positions of tokens
SMALL = {
    "vocab_size": len(PIECES), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 40, "initializer_range": 0.3, "pad_token_id": 0,
}  # fmt: skip
OTHER_NAMES = {"vocab_size": len(PIECES), "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32, "pad_token_id": 0}
FAMILIES: dict[str, dict[str, Any]] = {
    "albert": SMALL | {"embedding_size": 8},
    "bert": SMALL,
    "big_bird": SMALL | {"block_size": 4, "num_random_blocks": 1},
    "camembert": SMALL | BEHIND_PADDING,
    "data2vec-text": SMALL | BEHIND_PADDING,
    "deberta": SMALL,
    "deberta-v2": SMALL | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "distilbert": {"vocab_size": len(PIECES), "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "electra": SMALL | {"embedding_size": 8},
    "ernie": SMALL,
    "eurobert": SMALL | {"num_key_value_heads": 2},
    "funnel": OTHER_NAMES | {"block_sizes": [1, 1], "block_repeats": [1, 1]},
    "ibert": SMALL | BEHIND_PADDING,
    "longformer": SMALL | BEHIND_PADDING | {"attention_window": [4, 4]},
    "megatron-bert": SMALL,
    "mobilebert": SMALL | {
        "embedding_size": 8, "true_hidden_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 1,
    },
    "modernbert": SMALL | {"local_attention": 8, "global_attn_every_n_layers": 2},
    "mpnet": SMALL | {"max_position_embeddings": 42},  # its positions begin at 2
    "mra": SMALL | BEHIND_PADDING,
    "nomic_bert": SMALL,
    "rembert": SMALL,
    "roberta": SMALL | BEHIND_PADDING,
    "roberta-prelayernorm": SMALL | BEHIND_PADDING,
    "roformer": SMALL,
    "squeezebert": SMALL | {"embedding_size": 16} | {
        f"{name}_groups": 1 for name in ("q", "k", "v", "post_attention", "intermediate", "output")
    },
    "xlm-roberta": SMALL | BEHIND_PADDING,
    "xlm-roberta-xl": SMALL | BEHIND_PADDING,
    "xlnet": OTHER_NAMES | {"n_layer": 2, "initializer_range": 0.3},
}  # fmt: skip
REFUSED = {
    "convbert": (
        SMALL | {"embedding_size": 16, "head_ratio": 1, "conv_kernel_size": 3},
        "padding changes the answers of this convbert: logits of a row alone and in a padded batch differ by ",
    ),
    "fnet": (SMALL, "a fnet cannot ignore padding, for it takes no attention mask; "),
    "nystromformer": (
        SMALL | {"num_landmarks": 4, "segment_means_seq_len": 64},  # its convolution would read padding as well
        "this nystromformer does not read rows of 7, 25, 40 tokens (shape ",
    ),
    "yoso": (SMALL, "padding changes the answers of this yoso: "),
}
REMEDY = "name a checkpoint of another family in conf/model"
SEGMENTS = {  # of the families above
    "albert", "bert", "big_bird", "data2vec-text", "electra", "ernie", "funnel", "ibert", "longformer",
    "megatron-bert", "mobilebert", "nomic_bert", "rembert", "roberta", "roberta-prelayernorm",
    "roformer", "squeezebert", "xlm-roberta", "camembert", "xlnet",
}  # fmt: skip


def write(folder: Path, family: str, settings: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **settings)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    BertTokenizer(vocab={piece: i for i, piece in enumerate(PIECES)}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("attention", ["eager", None])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_has_the_same_logits_alone_and_in_any_batch(tmp_path: Path, family: str, attention: str | None) -> None:
    folder = write(tmp_path, family, FAMILIES[family])
    model, tokenizer, _ = load_model.load_pretrained(folder, 3, attention=attention)
    longest = batches.longest(folder, 40)
    padding.check_padding(model, tokenizer, longest, "here")

    @settings(max_examples=10, deadline=None, derandomize=True)
    @given(st.lists(st.integers(3, longest), min_size=2, max_size=5))
    def compare(lengths: list[int]) -> None:
        assert padding.compute_padding_effect(model, tokenizer, lengths) <= 1e-4

    compare()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_gets_segments_exactly_if_it_distinguishes_them(tmp_path: Path, family: str) -> None:
    folder = write(tmp_path, family, FAMILIES[family])
    tokenizer = BertTokenizer.from_pretrained(folder)
    model_inputs.set_tokenizer_inputs_from(folder, tokenizer)
    assert ("token_type_ids" in tokenizer.model_input_names) == (family in SEGMENTS)
    assert tokenizer.padding_side == ("left" if family == "xlnet" else "right")


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_reads_padding_is_refused(tmp_path: Path, family: str) -> None:
    settings, message = REFUSED[family]
    folder = write(tmp_path, family, settings)
    model, tokenizer, _ = load_model.load_pretrained(folder, attention=None)
    with pytest.raises(UserError) as error:
        padding.check_padding(model, tokenizer, batches.longest(folder, 40), "here")
    assert str(error.value).startswith(f"here: {message}")
    assert str(error.value).endswith(f"; {REMEDY}")
