"""`stablebench evaluate --sample`: text of a trained run."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_ptb
from typer.testing import CliRunner

from stablebench.cli.app import app


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("text")
        tiny_ptb.install(folder, monkeypatch, tiny_ptb.repeated(60, 10, 10))
        yield folder


def trained(folder: Path, task: str, *more: str) -> Path:
    what = ["--model", "lstm", "--task", task, "--hidden", "12", "--batch-size", "4", "--engine", "reference"]
    settings = ["--lr", "0.05", "--set", "train.eval_every=1000", "--set", "task.embedding=8"]
    code, output, errors = invoke("train", *what, *settings, *more, "--runs-dir", str(folder / "runs"), "--quiet")
    assert code == 0, output + errors
    return max(folder.glob(f"runs/{task}/lstm/*"), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def words(tiny: Path) -> Path:
    """A run that has learned the one sentence of its text by heart."""
    return trained(tiny, "ptb_word", "--T", "8", "--steps", "60")


@pytest.fixture(scope="module")
def characters(tiny: Path) -> Path:
    return trained(tiny, "ptb_char", "--T", "10", "--steps", "3")


@pytest.mark.parametrize("temperature", ["0", "0.3"])
def test_a_network_that_knows_its_text_by_heart_writes_it(words: Path, temperature: str) -> None:
    code, output, _ = invoke("evaluate", str(words), "--sample", "24", "--temperature", temperature)
    assert code == 0
    assert output.splitlines() == [tiny_ptb.SENTENCE] * 3
    code, output, _ = invoke("evaluate", str(words), "--sample", "6", "--prompt", "no it was", "--temperature", "0")
    assert output.splitlines() == [tiny_ptb.SENTENCE, "no"]  # four words, the end, one more


def test_text_depends_on_seed_and_longer_one_begins_with_shorter(characters: Path) -> None:
    """Text depends on the seed and a longer one begins with the shorter."""
    texts = {
        name: invoke("evaluate", str(characters), "--sample", n, "--seed", seed)[1]
        for name, n, seed in [("short", "20", "1"), ("again", "20", "1"), ("long", "60", "1"), ("other", "20", "2")]
    }
    assert texts["short"] == texts["again"] != texts["other"]
    assert texts["long"].startswith(texts["short"].rstrip("\n"))
    hot = invoke("evaluate", str(characters), "--sample", "20", "--seed", "1", "--temperature", "20")[1]
    assert hot != texts["short"]


def test_json_has_the_record_and_the_sample(words: Path) -> None:
    arguments = ["--sample", "5", "--prompt", "no Monday", "--temperature", "0", "--seed", "3", "--json"]
    code, output, _ = invoke("evaluate", str(words), *arguments)
    document = json.loads(output)
    assert code == 0 and document["spec"]["task"]["name"] == "ptb_word"
    found = document["sample"]
    assert (found["prompt"], found["unknown"], found["temperature"], found["seed"]) == ("no <unk>", ["Monday"], 0, 3)
    assert found["step"] == 60 and len(found["tokens"]) == 5 and "evaluation" not in document
    assert found["text"].startswith("no <unk>")


def test_unknown_words_are_read_as_unk_with_a_note(words: Path) -> None:
    code, output, errors = invoke("evaluate", str(words), "--sample", "2", "--prompt", "it was Monday Tuesday Monday")
    assert code == 0 and output.startswith("it was <unk> <unk> <unk>")
    assert errors == "read as <unk>, not being in the vocabulary: Monday Tuesday\n"


def test_one_checkpoint_file_is_sampled(characters: Path) -> None:
    (file,) = characters.glob("checkpoints/step-*.safetensors")
    assert invoke("evaluate", str(file), "--sample", "9") == invoke("evaluate", str(characters), "--sample", "9")


def test_wrong_requests_are_refused(words: Path, characters: Path, tmp_path: Path) -> None:
    what = ["--model", "rnn", "--task", "copy", "--T", "5", "--hidden", "4", "--steps", "1", "--quiet"]
    assert invoke("train", *what, "--runs-dir", str(tmp_path))[0] == 0
    (copy,) = tmp_path.glob("copy/rnn/*")
    text, letters = str(words), str(characters)
    for arguments, message in {
        (str(copy), "--sample", "3"): "--sample: copy is no stream of text; it needs a run of one of ptb_char,",
        (letters, "--sample", "3", "--prompt", "Ä it"): "--prompt: Ä must be among the characters of the text",
        (text, "--prompt", "no", "--seed", "1"): "--prompt, --seed: only with --sample N",
        (text, "--sample", "3", "--T", "9"): "--T: text has no length but --sample's",
        (text, "--sample", "3", "--temperature", "inf"): "--temperature: must be a finite number",
        (text, "--sample", "3", "--temperature", "nan"): "`--temperature` must be",
        (text, "--sample", "3", "--temperature", "-1"): "`--temperature` must be",
        (text, "--sample", "0"): "`--sample` must be",
    }.items():
        code, output, errors = invoke("evaluate", *arguments)
        assert (code, output) == (2, "") and message in errors and "Traceback" not in errors, arguments
