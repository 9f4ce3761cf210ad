# era_callstore. `make demo` and `make test` are all that is needed; every target
# installs what the machine lacks first (./setup, silent when nothing is missing).
#
#   make demo                            play the recorded calls, end with a table
#   make demo EVENTS=file OUT=dir        play another file, write its records to dir
#   make demo-cluster [RATE=events/s]    the same on three nodes, the active of which is killed half-way
#   make test                            everything a change must pass; a random run of RANDOM_MINUTES=5 is a part of it.
#                                        Two things run at a time, and each says what it has to say when it ends
#   make random [RANDOM_MINUTES=30 RANDOM_SEED=n]   that run alone, longer or as it was before
#   make check                           format, lints, layers, types
#   make bench [ONLY=name]               benchmarks
#   make soak [MINUTES=10]               half of the rate that it takes at most, for so long: does anything grow?
#   make build | shell | clean

EVENTS ?=
OUT ?=
RATE ?=
ONLY ?=
MINUTES ?= 10

.PHONY: demo demo-cluster test check bench soak bench-build build shell clean setup lint layers rust-test eunit ct ct-commit ct-rest random

demo: build
	@examples/demo/run "$(EVENTS)" "$(OUT)"

demo-cluster: build
	@DEMO_MAIN=callstore_demo_cluster DEMO_DIR=_build/demo-cluster RATE="$(RATE)" examples/demo/run "$(EVENTS)"

test: lint layers
	@$(MAKE) $(TWO) rust-test eunit
	@$(MAKE) $(TWO) ct-commit ct-rest

TWO = --no-print-directory -j2 --output-sync=target

check: lint layers
	rebar3 as check dialyzer

bench: bench-build
	@ONLY="$(ONLY)" erl -noshell $(BENCH_PATHS) -s bench_main main

soak: bench-build
	@epmd -daemon
	@MINUTES="$(MINUTES)" erl -noshell $(BENCH_PATHS) -s bench_soak main

BENCH_PATHS = -pa $(CURDIR)/_build/default/lib/era_callstore/ebin $(CURDIR)/_build/bench/ebin

bench-build: build
	@mkdir -p _build/bench/ebin
	@erlc -Werror -pa _build/default/lib/era_callstore/ebin -pa _build/bench/ebin -o _build/bench/ebin \
		bench/bench_case.erl $(filter-out bench/bench_case.erl,$(wildcard bench/*.erl))

build: setup
	@rebar3 compile

shell: build
	@rebar3 shell --apps era_callstore

clean:
	rm -rf _build priv examples/*/_build
	cargo clean

setup:
	@./setup

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

layers: setup
	rebar3 as check xref

rust-test: setup
	cargo test -p callstore --locked

eunit: setup
	rebar3 eunit

# The nodes of the tests wait for each other most of the time, so the longest suites run beside the others, in a build of their own.
# The random run begins with the same seed each time, so that a change is not refused for a fault that was there before it;
# `make random` is the long one, with a new seed.
ct: ct-commit ct-rest

BESIDE = $(addprefix test/ct/,commit_SUITE.erl random_SUITE.erl)
REST = $(filter-out $(BESIDE),$(wildcard test/ct/*_SUITE.erl))
comma = ,
empty =
suites = $(subst $(empty) $(empty),$(comma),$(basename $(1)))

ct-commit: setup
	REBAR_BASE_DIR=_build/beside RANDOM_MINUTES=$${RANDOM_MINUTES:-5} RANDOM_SEED=$${RANDOM_SEED:-901} \
		rebar3 ct --logdir _build/beside/test/logs --suite $(call suites,$(BESIDE))

ct-rest: setup
	rebar3 ct --suite $(call suites,$(REST))

# Alone it is the long one.
random: setup
	RANDOM_MINUTES=$${RANDOM_MINUTES:-30} rebar3 ct --suite test/ct/random_SUITE
