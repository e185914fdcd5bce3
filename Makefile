# Everything from a fresh clone: 'make demo' shows the tool at work, 'make test' runs the tests.
PYTHON ?= python3
BIN := .venv/bin
CFCLI := $(BIN)/cfcli
DEMO := demo
# Tests of attacks that lie beside what they attack.
ATTACKS := tests/cli/test_mutations.py tests/cli/test_ranks.py tests/core/runs/test_replaced.py tests/core/storage

# Processes that each start a thread a core make each other 20 times slower and more; these models need one thread.
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS

# Where the links of the demo can be shown: never in CI or without a display.
SHOW := case "$$(uname)" in Darwin) test -z "$$CI" && open "$$0";; *) test -n "$$DISPLAY$$WAYLAND_DISPLAY" && xdg-open "$$0";; esac

# Shows a command as one would type it, then runs it; make stops at the first that fails.
run = @printf '%s\n' '$$ $(1)'; $(1)

.PHONY: help demo docs recipes test test-newest soak lint man clean

help:
	@echo "make demo        install, then train, judge and use models on a real MovieLens sample"
	@echo "make test        install, then run all tests (PYTEST_ARGS=... is passed on)"
	@echo "make test-newest all tests with the newest versions of all packages, in .venv-newest"
	@echo "make soak        the fault tests at full length (an hour), and a table of what was tried and lost"
	@echo "make lint        ruff and mypy"
	@echo "make docs        make a site of the pages in docs/: site/index.html"
	@echo "make recipes     run the recipes for databases and vector indexes against the real programs"
	@echo "make man         manual pages in build/man, made from the help"
	@echo "make clean       remove the environment, the demo and all caches"

# Versions come from requirements.lock, so that a new machine gets what was tested.
.venv/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "error: $(PYTHON) is not Python 3.11 or newer; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "installing into .venv (PyTorch is large: the first time takes minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[demo,dev]'
	@touch $@

demo: .venv/.installed
	@mkdir -p $(DEMO)
	@rm -rf $(DEMO)/mf $(DEMO)/ncf
	$(call run,$(CFCLI) prepare --dataset sample --out $(DEMO)/data --force)
	$(call run,$(CFCLI) train --data $(DEMO)/data --model mf --dim 16 --out $(DEMO)/mf)
	$(call run,$(CFCLI) train --data $(DEMO)/data --config configs/ncf.toml --out $(DEMO)/ncf)
	$(call run,$(CFCLI) evaluate $(DEMO)/mf)
	$(call run,$(CFCLI) evaluate $(DEMO)/ncf)
	$(call run,$(CFCLI) export-embeddings $(DEMO)/mf --titles)
	$(call run,$(CFCLI) recommend $(DEMO)/mf --user 4 --user 15 --user 547 -n 5)
	$(call run,$(CFCLI) similar $(DEMO)/mf --title "toy story" -n 5)
	$(call run,$(CFCLI) report $(DEMO)/mf $(DEMO)/ncf --out $(DEMO)/report.html)
	@echo
	@echo "the dataset      $(DEMO)/data"
	@echo "the models       $(DEMO)/mf and $(DEMO)/ncf (weights: model.safetensors, every epoch: metrics.csv)"
	@echo "the embeddings   $(DEMO)/mf/embeddings/items.parquet"
	@echo "the report       $(CURDIR)/$(DEMO)/report.html (open it in a browser)"
	@echo "next             $(CFCLI) --help, docs/getting-started.md"
	@sh -c '$(SHOW)' "$(DEMO)/report.html" >/dev/null 2>&1 || true

test: .venv/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=10 $(PYTEST_ARGS)

# pip only warns when a package named alone goes beyond a bound of pyproject.toml.
test-newest:
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --quiet -e '.[demo,dev]'
	.venv-newest/bin/python -m pip install --quiet --upgrade torch pytorch-lightning
	.venv-newest/bin/python -m pip list --format=freeze
	.venv-newest/bin/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

soak: .venv/.installed
	SOAK=1 $(BIN)/python -m pytest tests/faults $(ATTACKS) $(PYTEST_ARGS)

docs:
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r docs/scripts/requirements.txt
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --clean --quiet
	@echo "the site         site/index.html (to search it: .venv-docs/bin/mkdocs serve)"

recipes: .venv/.installed
	$(PYTHON) -m venv .venv-recipes
	$(BIN)/python docs/scripts/recipes.py --python .venv-recipes/bin/python

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy cfcli

man: .venv/.installed
	$(BIN)/python -m cfcli.cli.guide.man build/man

clean:
	rm -rf .venv .venv-newest .venv-docs .venv-recipes site $(DEMO) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage lightning_logs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
