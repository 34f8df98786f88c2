# Everything that demo and test need is made on the way: the virtual environment, atoll in it, and its tools.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint law fuzz bench lab lab-kernel clean

help:
	@echo 'make demo    four NVLink-connected GPUs given to two tenants, on a simulated machine'
	@echo 'make test    all tests (linters, types and layering among them)'
	@echo 'make lint    ruff and mypy alone'
	@echo 'make law     a million packets on random fabrics against what atoll says of them (LAW_ARGS)'
	@echo 'make fuzz    everything that reads a stranger'"'"'s bytes, fuzzed for 10 s each (FUZZ_ARGS)'
	@echo 'make bench   times and counts beside lspci and lstopo, on generated and recorded machines'
	@echo 'make lab     real kernels in an emulator, fetched from Debian; results in lab-results.json'
	@echo 'make lab-kernel  only build the lab'"'"'s kernel with iommufd (8 minutes, once)'
	@echo 'make clean   remove what the others made'

demo: $(VENV)/.atoll
	@$(BIN)/atoll demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

law: $(VENV)/.atoll
	@$(BIN)/python tests/laws/packets.py $(LAW_ARGS)

fuzz: $(VENV)/.fuzz
	@PYTHONPATH=src:. $(BIN)/python -m fuzz $(FUZZ_ARGS)

bench: $(VENV)/.atoll
	@$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

lab: $(VENV)/.atoll
	@$(BIN)/python -m lab run $(LAB_ARGS)

lab-kernel: $(VENV)/.atoll
	@$(BIN)/python -m lab fetch kernel-iommufd

clean:
	rm -rf $(VENV) build dist fuzz/found .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say what is installed; they are older than what they depend on when it must be done again.

$(VENV)/.atoll: pyproject.toml tools/environment
	@tools/environment $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.test: $(VENV)/.atoll
	@tools/environment $(PYTHON) $(VENV) test
	@touch $@

$(VENV)/.fuzz: $(VENV)/.atoll
	@tools/environment $(PYTHON) $(VENV) fuzz
	@touch $@
