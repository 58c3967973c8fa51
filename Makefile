PYTHON ?= python3
BIN := .venv/bin
DEMO := --methods zeroshot,linear,lora,vpt,cmer --dataset synthetic --backbone starter --seeds 0 \
	--recipe steps=24,batch_size=64,evaluations=2 --results demo/results

.PHONY: demo lint check test lowest slow gpu chaos install docs clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch .venv/installed

install: .venv/installed ## create .venv and install

demo: .venv/installed ## the embedded benchmark: records, tables and plots in demo/
	BENCH_CACHE=.cache $(BIN)/bench run $(DEMO)
	$(BIN)/bench report --results demo/results --out demo/reports

lint: .venv/installed ## format, style, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint ## what to run while working: lint and the quick tests
	OMP_NUM_THREADS=1 BENCH_CACHE=.cache $(BIN)/pytest -q -n 2 -m 'not slow and not real_data'

test: lint ## everything, as CI does
	OMP_NUM_THREADS=1 BENCH_CACHE=.cache $(BIN)/pytest -n 2 --dist loadfile

lowest: ## the quick tests with the oldest versions that pyproject.toml allows, in .venv-lowest
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python \
		--resolution lowest-direct --editable '.[dev]'
	OMP_NUM_THREADS=1 BENCH_CACHE=.cache .venv-lowest/bin/pytest -q -n 2 -m 'not slow and not real_data'

slow: .venv/installed ## measure every test and write tests/slow.txt, the ones that check leaves out
	OMP_NUM_THREADS=1 BENCH_CACHE=.cache $(BIN)/pytest -q --measure

gpu: .venv/installed ## the tests that need a GPU with CUDA
	CUBLAS_WORKSPACE_CONFIG=:4096:8 $(BIN)/pytest -q -n 4 --gpu tests/test_cuda.py

chaos: .venv/installed ## kill -9 at random moments, fifty times and more; Linux, some five minutes
	BENCH_CACHE=.cache $(BIN)/python tests/chaos.py --faults 50

docs: .venv/installed ## the documentation as a site in site/; the first time installs mkdocs
	test -x $(BIN)/mkdocs || $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv .venv-lowest .cache demo build site *.egg-info
