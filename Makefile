# The targets for people. Every target installs what it needs.

.PHONY: help demo check test build dist release reproduce install uninstall docs bench lint fuzz clean

PREFIX ?= /usr/local
DESTDIR ?=

help: ## print what each target does
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

demo: ## run a real Debian image as an ordinary user
	scripts/demo.sh

check: ## the checks before a commit: under three minutes
	scripts/check.sh

test: ## everything that must pass
	scripts/test.sh

build: ## the static programs, in build/
	scripts/build.sh

dist: build ## build, prove in an empty root, print sizes
	scripts/dist.sh

release: ## tarball, Debian and RPM packages, and their sums, in build/release/
	scripts/release.sh

reproduce: ## make the release twice, in different directories, and compare the bytes
	scripts/reproduce.sh

install: ## install the programs of make build: PREFIX=/usr/local, DESTDIR=
	scripts/tree.sh build/tree
	install -m 755 scripts/install.sh build/tree/
	build/tree/install.sh --prefix "$(PREFIX)" --destdir "$(DESTDIR)"

uninstall: ## remove what make install installed there
	scripts/install.sh --uninstall --prefix "$(PREFIX)" --destdir "$(DESTDIR)"

docs: ## the pages as a book, in target/book/
	scripts/docs.sh

bench: build ## measurements beside the peers, and a page of them, build/bench/index.html
	benches/all.sh

lint: ## format, clippy, documentation
	scripts/lint.sh

fuzz: ## noise for every reader of what is not to be trusted, SECONDS_EACH=60
	scripts/fuzz.sh

clean:
	cargo clean
	rm -rf build
