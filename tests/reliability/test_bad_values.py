"""Wrong command lines and files: one message each, with the field, the value, what is allowed and the nearest right.

Each row is a command line, and what its message must hold. `{tmp}` is an empty folder, `{run}` a finished run; a file
of `FILES` is written to `{tmp}` under its name. Every row ends with exit code 2, prints nothing on stdout and no
traceback.
"""

from pathlib import Path

import pytest
from tiny_runs import run, tiny
from typer.testing import CliRunner

from stablebench.cli.app import app

T = "train --model rnn --task copy --runs-dir {tmp}/runs"
C = "compare --models rnn --tasks copy --runs-dir {tmp}/runs"
CARD = "task: mine\nversion: 1\nsummary: s\nreference: r\ndata: {generator: copy, params: {}}\ninput: tokens\n"
CARD += "readout: every\nloss: cross_entropy\nmetric: loss\nprotocol: {validation: 5, test: 5}\n"
CARD += "baselines: [{name: n, metric: loss, value: 1, derivation: w}]\nchangelog: ['1: first']\n"
RECIPE = "task: copy\nmodel: rnn\nsource: s\ntuned_by: paper\n"
SUITE = "summary: s\ntasks: [{task: copy}]\nmodels: [rnn]\nseeds: [0]\n"
FILES: dict[str, bytes] = {
    "empty.yaml": b"",
    "list.yaml": b"- 1\n",
    "binary.yaml": bytes(range(256)),
    "utf16.yaml": RECIPE.encode("utf-16"),
    "huge.yaml": b"#" * 1_000_001,
    "deep.yaml": b"a: " + b"[" * 50 + b"]" * 50,
    "alias.yaml": b"a: &a [1, 1]\nb: *a\n",
    "tag.yaml": b"a: !!python/object/apply:os.system ['true']\n",
    "twice.yaml": RECIPE.encode() + b"task: copy\n",
    "tab.yaml": b"a:\n\tb: 1\n",
    "typed.yaml": RECIPE.encode() + b"hidden: wide\n",
    "ranged.yaml": RECIPE.encode() + b"hidden: 0\n",
    "misspelt.yaml": RECIPE.encode() + b"trian: {steps: 3}\n",
    "budgets.yaml": RECIPE.encode() + b"train: {steps: 3, epochs: 2}\n",
    "other.yaml": b"task: adding\nmodel: rnn\nsource: s\ntuned_by: paper\n",
    "argument.yaml": RECIPE.encode() + b"params: {rho: 1}\n",
    "optimiser.yaml": RECIPE.encode() + b"optim: {name: adm}\n",
    "rate.yaml": RECIPE.encode() + b"optim: {lr: -1}\n",
    "nan.yaml": RECIPE.encode() + b"optim: {lr: .nan}\n",
    "boolean.yaml": RECIPE.encode() + b"hidden: true\n",
    "a file with spaces.yaml": RECIPE.encode() + b"hidden: 1.5\n",
    "ünïcödé.yaml": RECIPE.encode() + "quelle: ü\n".encode(),
    "card_metric.yaml": CARD.replace("metric: loss\np", "metric: lost\np").encode(),
    "card_generator.yaml": CARD.replace("generator: copy", "generator: coppy").encode(),
    "card_two_sources.yaml": CARD.replace("{generator: copy", "{generator: copy, dataset: digits").encode(),
    "card_parameter.yaml": CARD.replace("params: {}", "params: {lenght: 5}").encode(),
    "card_expression.yaml": CARD.replace("value: 1", "value: 'import os'").encode(),
    "card_division.yaml": CARD.replace("value: 1", "value: 1 / 0").encode(),
    "card_version.yaml": CARD.replace("version: 1", "version: 0").encode(),
    "suite_model.yaml": SUITE.replace("[rnn]", "[rnnn]").encode(),
    "suite_task.yaml": SUITE.replace("{task: copy}", "{task: coppy}").encode(),
    "suite_variant.yaml": SUITE.replace("{task: copy}", "{task: copy/t40}").encode(),
    "suite_seeds.yaml": SUITE.replace("[0]", "[]").encode(),
    "suite_seed.yaml": SUITE.replace("[0]", "[-1]").encode(),
    "suite_large_seed.yaml": SUITE.replace("[0]", "[4294967296]").encode(),
    "brackets.yaml": RECIPE.encode() + b"'[/x]': 1\n",
    "suite_set.yaml": (SUITE + "overrides: {model.rho: 1}\n").encode(),
    "suite_key.yaml": (SUITE + "overrides: {hidden: 1}\n").encode(),
    "suite_sets.yaml": (SUITE + "model_overrides: {lstm: {}}\n").encode(),
    "board_empty.json": b"",
    "board_list.json": b"[]",
    "board_nan.json": b'{"tables": [{"task": "copy", "metric": "loss", "rows": [{"name": "rnn", "score": NaN}]}]}',
    "board_metric.json": b'{"tables": [{"task": "copy", "metric": "lost", "rows": []}]}',
    "board_deep.json": b"[" * 100_000,
    "notes.txt": b"hello",
    "own.py": b"class Mine:\n    pass\n",
    "broken.py": b"def",
}
ROWS: list[tuple[str, list[str]]] = [
    # -- commands and options
    ("trian", ["No command named 'trian'", "Did you mean train?"]),
    ("evaluat {run}", ["Did you mean evaluate?"]),
    ("--vresion", ["no option --vresion", "Did you mean --version?"]),
    ("train", ["--model is missing", "stablebench list models"]),
    ("train --model rnn", ["--task is missing", "stablebench list tasks"]),
    ("train --task copy", ["--model is missing"]),
    ("train --modle rnn", ["no option --modle", "Did you mean --model?"]),
    ("train --model", ["--model"]),
    ("train rnn", ["rnn"]),
    ("show model", ["NAME is missing"]),
    ("show", ["KIND is missing"]),
    ("evaluate", ["RUN is missing"]),
    ("verify", ["RUN is missing"]),
    ("validate", ["PATH"]),
    ("list", ["KIND is missing"]),
    ("list modles", ["No kind named 'modles'", "Did you mean models?"]),
    ("list models --format tabel", ["`--format` must be one of", "got 'tabel'", "Did you mean table?"]),
    ("show modl rnn", ["No kind named 'modl'", "Did you mean model?"]),
    ("compare quick extra", ["extra"]),
    # -- names
    ("train --model rrn --task copy", ["No model named 'rrn'", "Did you mean rnn?"]),
    ("train --model rnnn --task copy", ["No model named 'rnnn'", "Did you mean rnn?"]),
    ("train --model RNN --task copy", ["No model named 'RNN'"]),
    ("train --model ../rnn --task copy", ["No model named '../rnn'"]),
    ("train --model rnn --task coppy", ["No task named 'coppy'", "Did you mean copy?"]),
    ("train --model rnn --task copy/t40", ["no variant 't40'", "Its variants:"]),
    ("train --model rnn --task ../../etc/passwd", ["No task named"]),
    ("train --model rnn --task ünï", ["No task named 'ünï'"]),
    ("show model dizy", ["No model named 'dizy'", "Did you mean dizzy?"]),
    ("show task coppy", ["No task named 'coppy'", "Did you mean copy?"]),
    ("show recipe copy/rnnn", ["No recipe named 'copy/rnnn'", "Did you mean copy/"]),
    ("show suite quik", ["No suite named 'quik'", "Did you mean quick?"]),
    ("show run nowhere --runs-dir {tmp}", ["No run 'nowhere'"]),
    ("compare quik", ["No suite named 'quik'", "Did you mean quick?"]),
    (C.replace("--models rnn", "--models rnnn"), ["No model named 'rnnn'", "Did you mean rnn?"]),
    (C.replace("--tasks copy", "--tasks coppy"), ["No task named 'coppy'"]),
    ("compare --tasks copy", ["--task", "--model"]),
    ("data fetch cifar", ["No data set named 'cifar'", "Did you mean cifar10?"]),
    ("data path mnsit", ["Did you mean mnist?"]),
    # -- a user's own model
    ("train --task copy --model {tmp}/none.py:Mine", ["there is no such file"]),
    ("train --task copy --model {tmp}/own.py:Mine", ["must define a class Mine that extends RecurrentModel"]),
    ("train --task copy --model {tmp}/own.py:Yours", ["must define a class Yours"]),
    ("train --task copy --model {tmp}/broken.py:Mine", ["importing it failed with SyntaxError"]),
    ("train --task copy --model no.such.module:Mine", ["No module named 'no'", "path/to/file.py:Class"]),
    ("train --task copy --model json:JSONDecoder", ["must define a class JSONDecoder"]),
    ("train --task copy --model :Mine", ["--model :Mine"]),
    ("train --task copy --model rnn:", ["--model rnn:"]),
    ("evaluate {run} --model rnn", ["--model rnn", "file.py:Class"]),
    # -- types of options
    (f"{T} --T many", ["`--T` must be a whole number, got 'many'"]),
    (f"{T} --T 1.5", ["`--T` must be a whole number, got '1.5'"]),
    (f"{T} --hidden ''", ["`--hidden` must be a whole number"]),
    (f"{T} --hidden 1e3", ["`--hidden` must be a whole number, got '1e3'"]),
    (f"{T} --layers two", ["`--layers` must be a whole number, got 'two'"]),
    (f"{T} --steps 10k", ["`--steps` must be a whole number, got '10k'"]),
    (f"{T} --epochs x", ["`--epochs` must be a whole number"]),
    (f"{T} --batch-size x", ["`--batch-size` must be a whole number"]),
    (f"{T} --lr fast", ["`--lr` must be a number, got 'fast'"]),
    (f"{T} --lr 1,5", ["`--lr` must be a number, got '1,5'"]),
    (f"{T} --seed x", ["`--seed` must be a whole number"]),
    (f"{T} --threads x", ["`--threads` must be a whole number"]),
    (f"{T} --device tpu", ["`--device` must be one of auto, cpu, cuda, got 'tpu'"]),
    (f"{T} --device CPU", ["`--device` must be one of", "got 'CPU'"]),
    (f"{T} --engine fsued", ["`--engine` must be one of", "Did you mean fused?"]),
    (f"{T} --precision float16", ["`--precision` must be one of float32, float64, got 'float16'"]),
    (f"{T} --recompute-every x", ["`--recompute-every` must be a whole number"]),
    ("evaluate {run} --split tset", ["`--split` must be one of test, validation", "Did you mean test?"]),
    ("evaluate {run} --T x", ["`--T` must be a whole number"]),
    ("verify {run} --steps x", ["`--steps` must be a whole number"]),
    (f"{C} --seeds x", ["`--seeds` must be a whole number >= 1, or seeds 3,5 or 0-4, got 'x'"]),
    (f"{C} --workers x", ["`--workers` must be a whole number"]),
    (f"{C} --margin x", ["`--margin` must be a number"]),
    (f"{C} --format xls", ["`--format` must be one of", "got 'xls'"]),
    # -- ranges of options
    (f"{T} --T 0", ["`--T` must be >= 1, got 0"]),
    (f"{T} --T -5", ["`--T` must be >= 1, got -5"]),
    (f"{T} --hidden 0", ["`--hidden` must be >= 1, got 0"]),
    (f"{T} --layers 0", ["`--layers` must be >= 1, got 0"]),
    (f"{T} --steps 0", ["`--steps` must be >= 1, got 0"]),
    (f"{T} --epochs 0", ["`--epochs` must be >= 1, got 0"]),
    (f"{T} --batch-size 0", ["`--batch-size` must be >= 1, got 0"]),
    (f"{T} --lr 0", ["`--lr` must be > 0, got 0.0"]),
    (f"{T} --lr -1", ["`--lr` must be > 0, got -1.0"]),
    (f"{T} --lr nan", ["`--lr` must be a finite number, got nan"]),
    (f"{T} --lr inf", ["`--lr` must be a finite number, got inf"]),
    (f"{T} --seed -1", ["`--seed` must be >= 0, got -1"]),
    (f"{T} --seed 4294967296", ["`--seed` must be <= 4294967295 (torch's generator reads 32 bits", "got 4294967296"]),
    (f"{T} --seed 18446744073709551616", ["`--seed` must be <= 4294967295", "got 18446744073709551616"]),
    (f"{T} --set seed=4294967296", ["seed: must be <= 4294967295", "got 4294967296"]),
    (f"sweep --trials 1 {T[6:]} --seed 4294967296", ["`--seed` must be <= 4294967295"]),
    ("probe-gradients --model rnn --task copy --seed 4294967296", ["`--seed` must be <= 4294967295"]),
    ("speed --seed 4294967296", ["`--seed` must be <= 4294967295"]),
    (f"{C} --seeds 18446744073709551616", ["`--seeds` must be <= 100000, got 18446744073709551616"]),
    ("compare {tmp}/suite_large_seed.yaml --runs-dir {tmp}/runs", ["seeds.0", "<= 4294967295"]),
    # -- whole numbers are written as such, on the command line as in files
    (f"{T} --steps 5.0", ["`--steps` must be a whole number, got '5.0'"]),
    (f"{T} --set train.steps=5.0", ["train.steps: must be a whole number, got 5.0 (float)"]),
    (f"{T} --T 5.0", ["`--T` must be a whole number, got '5.0'"]),
    (f"{T} --hidden 4.", ["`--hidden` must be a whole number, got '4.'"]),
    (f"{T} --seed 1.0", ["`--seed` must be a whole number, got '1.0'"]),
    (f"{T} --batch-size 2.0", ["`--batch-size` must be a whole number, got '2.0'"]),
    (f"{C} --seeds 2.0", ["`--seeds` must be a whole number >= 1, or seeds 3,5 or 0-4, got '2.0'"]),
    (f"{C} --workers 2.0", ["`--workers` must be a whole number, got '2.0'"]),
    ("verify {run} --steps 2.0", ["`--steps` must be a whole number, got '2.0'"]),
    # -- keys that are spelt like a type, or like markup
    (f"{T} --set model.[x]=1", ["model rnn: [x]: unknown key", "Known keys"]),
    (f"{T} --set model.a[b]=1", ["model rnn: a[b]: unknown key"]),
    (f"{T} --set model.int=1", ["model rnn: int: unknown key"]),
    (f"{T} --set task.[S]=1", ["task copy: [S]: unknown key", "Known keys: S, "]),
    (f"{T} --set train.[x]=1", ["run spec: train.[x]: unknown key", "batch_size"]),
    (f"{T} --set optim.[/x]=1", ["run spec: optim.[/x]: unknown key"]),
    (f"{T} --set optim.groups.[x].rate=1", ["optim.groups.[x].rate: unknown key", "Known keys: betas, lr"]),
    (f"{T} --set model.activation=[red]", ["activation", "['red']"]),
    ("train --model [red] --task copy", ["No model named '[red]'"]),
    ("train --model rnn --task [red]", ["No task named '[red]'"]),
    ("compare [red]x[/red]", ["No suite named '[red]x[/red]'"]),
    ("validate {tmp}/brackets.yaml", ["brackets.yaml:5: [/x]: unknown key"]),
    (f"{T} --threads 0", ["`--threads` must be >= 1, got 0"]),
    (f"{T} --recompute-every 0", ["`--recompute-every` must be >= 1, got 0"]),
    ("evaluate {run} --T 0", ["`--T` must be >= 1, got 0"]),
    ("evaluate {run} --threads 0", ["`--threads` must be >= 1, got 0"]),
    ("verify {run} --steps 0", ["`--steps` must be >= 1, got 0"]),
    (f"{C} --seeds 0", ["`--seeds` must be a whole number >= 1, or seeds 3,5 or 0-4, got '0'"]),
    (f"{C} --workers 0", ["`--workers` must be >= 1, got 0"]),
    (f"{C} --margin -1", ["`--margin` must be >= 0", "got -1"]),
    # -- --set
    (f"{T} --set train.steps=", ["train.steps: must be a whole number, got nothing."]),
    (f"{T} --set model.rho=1", ["rho: unknown key", "Known keys"]),
    (f"{T} --set model.activatoin=relu", ["activatoin: unknown key", "Did you mean activation?"]),
    (f"{T} --set model.activation=swish", ["activation", "got 'swish'"]),
    (f"{T} --set task.lenght=5", ["lenght: unknown key", "Did you mean length?"]),
    (f"{T} --set task.length=0", ["length", ">= 1", "got 0"]),
    (f"{T} --set task.length=five", ["length", "got 'five'"]),
    (f"{T} --set optim.lr=fast", ["optim.lr", "got 'fast'"]),
    (f"{T} --set optim.lr=0", ["optim.lr", "> 0", "got 0"]),
    (f"{T} --set optim.lr=.nan", ["optim.lr", "finite number"]),
    (f"{T} --set optim.name=adm", ["optim.name", "got 'adm'", "Did you mean adam?"]),
    (f"{T} --set optim.momentun=0.9", ["optim.momentun: unknown key", "Did you mean momentum?"]),
    (f"{T} --set optim.momentum=0.9 --set optim.name=adam", ["optim.momentum: adam has no such option"]),
    (f"{T} --set optim.nesterov=true --set optim.name=sgd", ["optim.nesterov", "momentum"]),
    (f"{T} --set optim.betas=[0.9]", ["optim.betas"]),
    (f"{T} --set optim.betas=[0.9,2]", ["optim.betas.1", "<= 1"]),
    (f"{T} --set optim.groups.orth.lr=1e-3", ["optim.groups.orth", "no such parameter group"]),
    (f"{T} --set optim.schedule.factor=0.5", ["optim.schedule", "at"]),
    (f"{T} --set optim.schedule.at=[5] --set optim.schedule.factor=0", ["optim.schedule.factor", "got 0"]),
    (f"{T} --set train.steps=many", ["train.steps", "got 'many'"]),
    (f"{T} --set train.steps=1.5", ["train.steps", "got 1.5"]),
    (f"{T} --set train.stpes=5", ["train.stpes: unknown key", "Did you mean steps?"]),
    (f"{T} --set train.batch_size=0", ["train.batch_size", "got 0"]),
    (f"{T} --set train.checkpoint_every=0", ["train.checkpoint_every", "got 0"]),
    (f"{T} --set tarin.steps=5", ["--set tarin.steps: unknown key", "Did you mean train?"]),
    (f"{T} --set steps=5", ["--set steps: unknown key"]),
    (f"{T} --set model", ["--set model: must be KEY=VALUE"]),
    (f"{T} --set =5", ["must be KEY=VALUE"]),
    (f"{T} --set model.=5", ["must be KEY=VALUE"]),
    (f"{T} --set train.steps=[1", ["--set train.steps", "not valid YAML"]),
    (f"{T} --set train.steps=!!int", ["--set train.steps", "tags are not read"]),
    (f"{T} --set train.steps=5 --set train.steps=6", ["--set train.steps: given twice"]),
    (f"{T} --set train.steps.x=5", ["--set train.steps.x", "single value"]),
    (f"{T} --set seed=-1", ["seed", "got -1"]),
    (f"{T} --set threads=0", ["threads", "got 0"]),
    (f"{T} --set engine=fast", ["engine", "got 'fast'"]),
    (f"{T} --set seed.x=1", ["--set seed.x"]),
    (f"{C} --set model.rho=1", ["rho: unknown key"]),
    # -- contradictions
    ("data list --format csv --json", ["--format csv and --json: give one of the two."]),
    ("speed --format csv --json", ["--format csv and --json: give one of the two."]),
    (f"{C} --no-run --format html --json", ["--format html and --json: give one of the two."]),
    ("sweep --model rnn --task copy --format csv --json", ["--format csv and --json: give one of the two."]),
    (f"{T} --steps 5 --epochs 2", ["--steps and --epochs", "one of the two"]),
    (f"{T} --epochs 2", ["--epochs", "no epochs", "--steps"]),
    ("train --model rnn --task copy/t400 --T 5", ["--T 5", "t400", "400"]),
    ("train --model rnn --task digits --T 5", ["--T", "fixed length"]),
    ("train --model rnn --task double_moon", ["static inputs", "deep model"]),
    ("train --model mlp --task copy", ["deep model", "static inputs"]),
    ("train --model mlp --task double_moon --recompute-every 5", ["--recompute-every"]),
    ("train --resume {run} --steps 3", ["--steps 3: must be more than the 24 updates"]),
    ("train --resume {run} --model lstm", ["--resume", "model"]),
    ("train --resume {run} --set a.b=1", ["--resume", "set"]),
    ("train --resume {tmp}/nowhere", ["nowhere: no run with a readable record.json", "No such file"]),
    ("compare --modle rnn", ["compare has no option --modle", "Did you mean --model?"]),
    ("compare quick --seed 1", ["compare has no option --seed", "Did you mean --seeds?"]),
    ("probe-gradients {run} --hidden 5", ["leave the options that change it out"]),
    ("probe-gradients --model rnn,rnn --task copy", ["rnn stands twice"]),
    ("speed --size 1,2", ["1,2"]),
    ("speed --repeats 1", ["`--repeats` must be >= 3, got 1"]),
    # -- paths
    ("evaluate {tmp}", ["no run with a readable record.json"]),
    ("evaluate {tmp}/none.safetensors", ["no run with a readable record.json"]),
    ("evaluate {tmp}/notes.txt", ["no run with a readable record.json", "Not a directory"]),
    ("evaluate {run}/checkpoints/step-9.safetensors", ["step-9.safetensors", "no such checkpoint"]),
    ("verify {tmp}", ["no run with a readable record.json"]),
    ("validate {tmp}/none.yaml", ["none.yaml: there is no such file or folder"]),
    ("validate {tmp}/notes.txt", ["must be"]),
    (f"{C} --no-run --check {{tmp}}/none.json", ["none.json: cannot be read"]),
    (f"{C} --no-run --check {{tmp}}/board_empty.json", ["board_empty.json: must be JSON"]),
    (f"{C} --no-run --check {{tmp}}/board_list.json", ["must be a leaderboard", "tables"]),
    (f"{C} --no-run --check {{tmp}}/board_nan.json", ["tables.0.rows.0.score is no number"]),
    (f"{C} --no-run --check {{tmp}}/board_metric.json", ["tables.0 has no known `metric`"]),
    (f"{C} --no-run --check {{tmp}}/board_deep.json", ["must be JSON"]),
    (f"{T} --recipe {{tmp}}/none.yaml", ["none.yaml: cannot be read (No such file or directory)"]),
    (f"{T} --recipe {{tmp}}", ["cannot be read (Is a directory)"]),
    # -- files
    (f"{T} --recipe {{tmp}}/empty.yaml", ["empty.yaml:1: must be a mapping"]),
    (f"{T} --recipe {{tmp}}/list.yaml", ["list.yaml:1: must be a mapping"]),
    (f"{T} --recipe {{tmp}}/binary.yaml", ["binary.yaml: must be UTF-8"]),
    (f"{T} --recipe {{tmp}}/utf16.yaml", ["utf16.yaml: must be UTF-8"]),
    (f"{T} --recipe {{tmp}}/huge.yaml", ["at most 1,000,000 bytes are read, the file has 1,000,001"]),
    (f"{T} --recipe {{tmp}}/deep.yaml", ["deep.yaml:1: nested more than 20 deep"]),
    (f"{T} --recipe {{tmp}}/alias.yaml", ["alias.yaml:1: anchors and aliases are not read"]),
    (f"{T} --recipe {{tmp}}/tag.yaml", ["tag.yaml:1: tags are not read"]),
    (f"{T} --recipe {{tmp}}/twice.yaml", ["twice.yaml:5: the key 'task' stands twice (first on line 1)"]),
    (f"{T} --recipe {{tmp}}/tab.yaml", ["tab.yaml:2: not valid YAML"]),
    (f"{T} --recipe {{tmp}}/typed.yaml", ["typed.yaml:5: hidden: must be a whole number, got 'wide'"]),
    (f"{T} --recipe {{tmp}}/ranged.yaml", ["ranged.yaml:5: hidden: must be >= 1, got 0"]),
    (f"{T} --recipe {{tmp}}/misspelt.yaml", ["misspelt.yaml:5: trian: unknown key. Did you mean train?"]),
    (f"{T} --recipe {{tmp}}/budgets.yaml", ["budgets.yaml:5: train: `steps` and `epochs` must not both be given"]),
    (f"{T} --recipe {{tmp}}/other.yaml", ["this recipe is for the task adding, not copy"]),
    (f"{T} --recipe {{tmp}}/argument.yaml", ["rho: unknown key"]),
    (f"{T} --recipe {{tmp}}/optimiser.yaml", ["optim.name", "Did you mean adam?"]),
    (f"{T} --recipe {{tmp}}/rate.yaml", ["optim.lr", "> 0, got -1"]),
    (f"{T} --recipe {{tmp}}/nan.yaml", ["optim.lr", "finite number, got nan"]),
    (f"{T} --recipe {{tmp}}/boolean.yaml", ["boolean.yaml:5: hidden", "got True"]),
    (f"{T} --recipe '{{tmp}}/a file with spaces.yaml'", ["a file with spaces.yaml:5: hidden", "got 1.5"]),
    (f"{T} --recipe {{tmp}}/ünïcödé.yaml", ["ünïcödé.yaml:5: quelle: unknown key"]),
    ("validate {tmp}/card_metric.yaml", ["metric", "got 'lost'", "Did you mean loss?"]),
    ("validate {tmp}/card_generator.yaml", ["`data` must name a module", "coppy"]),
    ("validate {tmp}/card_two_sources.yaml", ["exactly one of `generator`, `dataset` and `stream`"]),
    ("validate {tmp}/card_parameter.yaml", ["lenght: unknown key", "Did you mean length?"]),
    ("validate {tmp}/card_expression.yaml", ["`import os` is not arithmetic"]),
    ("validate {tmp}/card_division.yaml", ["`1 / 0` cannot be computed"]),
    ("validate {tmp}/card_version.yaml", ["version", ">= 1, got 0"]),
    ("validate {tmp}/suite_model.yaml", ["No model named 'rnnn'", "Did you mean rnn?"]),
    ("validate {tmp}/suite_task.yaml", ["No task named 'coppy'", "Did you mean copy?"]),
    ("validate {tmp}/suite_variant.yaml", ["no variant 't40'"]),
    ("validate {tmp}/suite_seeds.yaml", ["seeds"]),
    ("validate {tmp}/suite_seed.yaml", ["seeds.0", "got -1"]),
    ("validate {tmp}/suite_set.yaml", ["rho: unknown key"]),
    ("validate {tmp}/suite_key.yaml", ["must be one of task.NAME, model.NAME"]),
    ("validate {tmp}/suite_sets.yaml", ["`model_overrides` names models that the suite does not run: lstm"]),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a folder with the wrong files, and a finished run."""
    folder = tmp_path_factory.mktemp("wrong")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return {"tmp": str(folder), "run": str(run(tiny(), tmp_path_factory.mktemp("runs")).path)}


def said(line: str, places: dict[str, str]) -> tuple[int, str, str]:
    import shlex

    arguments = [part.replace("{tmp}", places["tmp"]).replace("{run}", places["run"]) for part in shlex.split(line)]
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, result.stderr, result.stdout


@pytest.mark.parametrize(("line", "parts"), ROWS, ids=[line.replace("/", "|") for line, _ in ROWS])
def test_wrong_line_or_file_is_one_message_that_says_what_to_do(
    line: str, parts: list[str], places: dict[str, str]
) -> None:
    """A wrong line or file is one message that says what to do."""
    code, stderr, stdout = said(line, places)
    assert code == 2, (stderr, stdout)
    assert all(part in stderr for part in parts), stderr
    assert "Traceback" not in stderr and "Value error" not in stderr and "pydantic" not in stderr
    assert len(stderr.strip().splitlines()) <= 10 and len(stderr) < 3000
    assert stdout == ""
    assert not list(Path(places["tmp"]).glob("runs/*/*/*/record.json"))


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) >= 150 and len({line for line, _ in ROWS}) == len(ROWS)
