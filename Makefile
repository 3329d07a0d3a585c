# make train [ARGS="model=resnet50 data=cifar10"]   install Frostline and its dependencies, then train
# make setup | test | test-hosts | test-all | test-gpu | test-hydra-next | fuzz | lint | types | clean
# make bench DATA=<folder of CIFAR-10> JPEGS=<zip with JPEGs>   the tables of benchmarks/README.md; hours on two cores
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: train setup test test-hosts test-all test-gpu test-hydra-next fuzz bench lint types clean

train: $(STAMP)
	$(BIN)/python train.py $(ARGS)

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Frostline needs Python 3.11 or newer; this is $$($(PYTHON) --version). Next: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	@touch $@

# A test file per core, at most four, each process on one thread, as the networks are small. conftest.py sets the order
# of the files, which xdist must not change. For a debugger, in one process: make test ARGS="-n 0 --pdb"
TESTS := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Bytecode is written by the first import: compiling all that is installed takes 76 s of one core, what the tests import
# 27 s. Import it once before the tests, or each of their processes compiles it.
IMPORTED := lightning.pytorch, torchmetrics.detection, torch.utils.tensorboard, torchvision, timm, transformers, datasets, sklearn.linear_model, matplotlib.pyplot

# mypy runs beside the tests, which leave a core idle now and then.
test: lint
	@mkdir -p .mypy_cache
	@$(BIN)/python -m mypy >.mypy_cache/output 2>&1 & types=$$!; \
		PYTHONDONTWRITEBYTECODE= $(BIN)/python -c "import $(IMPORTED)"; \
		$(TESTS) --durations=10 $(ARGS); tests=$$?; \
		wait $$types; types=$$?; cat .mypy_cache/output; exit $$((tests + types))

# A host that is cut off and comes back. The hosts are network namespaces: skipped without root or the program ip.
test-hosts: $(STAMP)
	$(TESTS) --numprocesses 0 -m "" tests/test_hosts.py -k a_host_that_is_cut_off $(ARGS)

test-all: lint types
	$(TESTS) -m "" $(ARGS)

# On a GPU: the tests that need one, and every test file that uses DEVICE (whole runs).
test-gpu: $(STAMP)
	FROSTLINE_TEST_DEVICE=gpu $(TESTS) tests/test_gpu.py $$(grep --recursive --word-regexp --files-with-matches --include='test_*.py' DEVICE tests) $(ARGS)

# The newest Hydra, release candidates included, and its OmegaConf, in front of the installed ones. Warnings do not fail
# here, so that each test shows what breaks; pytest lists them.
NEXT := $(CURDIR)/.venv/hydra-next
NEXT_TESTS := cli errors experiments fast_yaml instantiate nested plain schedules signatures start typed \
	sweep sweep_composing sweep_folder sweep_order

test-hydra-next: $(STAMP)
	rm -rf $(NEXT)
	$(BIN)/python -m uv pip install --python $(BIN)/python --prerelease allow --target $(NEXT) "hydra-core>=1.4.0.dev0" || \
		{ echo "Hydra 1.4 or newer cannot be installed: the registry has none, or is not reached"; exit 1; }
	PYTHONPATH=$(NEXT)$${PYTHONPATH:+:$$PYTHONPATH} $(TESTS) -W default --continue-on-collection-errors $(NEXT_TESTS:%=tests/test_%.py) tests/house/test_configs.py $(ARGS)

# Fuzz the file readers with many more examples than `make test` uses.
fuzz: $(STAMP)
	FROSTLINE_FUZZ=$(or $(N),3000) $(TESTS) tests/test_fuzz.py $(ARGS)

PYBENCH := $(BIN)/python benchmarks

bench: $(STAMP)
	@test -n "$(DATA)" -a -n "$(JPEGS)" || { echo "Next: make bench DATA=<folder of CIFAR-10> JPEGS=<zip with JPEGs>"; exit 1; }
	$(PYBENCH)/frozen_speed.py
	$(PYBENCH)/frozen_phase.py 300 --data $(DATA)
	$(PYBENCH)/head_sweep.py 300 --data $(DATA)
	$(PYBENCH)/partial_thaw.py 300 --data $(DATA)
	$(PYBENCH)/full_step.py
	$(PYBENCH)/step_choices.py
	$(PYBENCH)/data_path.py $(DATA) $(JPEGS)
	$(PYBENCH)/time_to_first_step.py
	$(PYBENCH)/growth.py $(DATA)
	$(PYBENCH)/checksums.py
	$(PYBENCH)/looking.py

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: $(STAMP)
	$(BIN)/python -m mypy

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
