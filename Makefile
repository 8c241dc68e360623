# Menura: `make run` boots a machine, `make check` tests; both install what they need first.
.PHONY: all deps deps-run run check check-full soak-oracle soak-boots soak-block soak-cuts install
all: build/build.ninja
	ninja -C build
deps-run:
	@scripts/install-deps run
deps:
	@scripts/install-deps
build/build.ninja:
	./configure
run: deps-run all
	@scripts/run
check: deps all
	@scripts/check
# also what is too long for CI, about six hours; stopped and begun again, it goes on where it was (scripts/check-full, build/check-full.tsv)
check-full: deps all
	@scripts/check-full
# random instruction sequences for SECONDS (600), on from where docs/internals/oracle-log.md ends
soak-oracle: all
	@scripts/soak-oracle $(SECONDS)
# the stress kernel in stress mode, BOOTS (1000) times, on from where docs/internals/soak-log.md ends
soak-boots: all
	@scripts/soak-boots $(BOOTS)
# hostile images led by coverage, SECONDS (600) for each format, on from the corpus in the cache; rows for docs/internals/block-log.md
soak-block:
	@scripts/soak-block $(SECONDS)
# power cuts, CUTS (20000) of each geometry of each format
soak-cuts: all
	@scripts/soak-cuts $(CUTS)
install: all
	meson install -C build
