# Menura: `make run` boots a machine, `make check` tests; both install what they need first.
.PHONY: all deps run check install
all: build/build.ninja
	ninja -C build
deps:
	scripts/install-deps
build/build.ninja:
	./configure
run: deps all
	scripts/run
check: deps all
	scripts/check
install: all
	meson install -C build
