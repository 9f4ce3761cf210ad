#!/bin/sh
# Builds the NIF library and puts it where the Erlang side loads it from:
# priv/era_callstore_nif.so. Called by rebar3 before it compiles (rebar.config),
# also when era_callstore is somebody's dependency, and by nobody else.
# Always: the library in priv/ is whole. A node may have the old one mapped, so
# it is never written over: the new one is renamed into its place.
# Says what it does; prints nothing when there is nothing to do.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'native: %s\n' "$*"; }
die() { printf 'native: %s\n' "$*" >&2; exit 1; }

library=priv/era_callstore_nif.so

wanted=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' Cargo.toml | head -n 1)
command -v cargo >/dev/null 2>&1 || die "cargo is missing: install Rust $wanted or newer"
found=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
lowest=$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)
[ "$lowest" = "$wanted" ] || die "Rust $found is too old: $wanted or newer is needed"

# The loader refuses a library whose version is not the application's; better
# to hear of a half-done version bump here.
crate=$(sed -n 's/^version *= *"\([^"]*\)".*/\1/p' Cargo.toml | head -n 1)
app=$(sed -n 's/^ *{vsn, *"\([^"]*\)"}.*/\1/p' erl/era_callstore.app.src)
[ "$crate" = "$app" ] || die "version $crate in Cargo.toml, $app in erl/era_callstore.app.src"

# nodelete: rustler leaves threads' destructors behind, an unloaded library
# would pull the code from under them.
export RUSTLER_PRIMARY_NIF_INIT=1
[ -f "$library" ] || say "building $library (the first time takes a minute)"
built=$(cargo rustc --release --locked --quiet -p callstore-native --lib \
            --message-format json-render-diagnostics \
            -- -C link-arg=-Wl,-z,nodelete |
        sed -n 's/.*"filenames":\["\([^"]*libera_callstore_nif\.[a-z]*\)".*/\1/p' | tail -n 1)
[ -n "$built" ] && [ -f "$built" ] || die "cargo built no library (see above)"

if cmp -s "$built" "$library"; then exit 0; fi
mkdir -p priv
fresh=$(mktemp "$library.XXXXXX")
trap 'rm -f "$fresh"' EXIT
cp "$built" "$fresh"
chmod 755 "$fresh"
mv -f "$fresh" "$library"
trap - EXIT
say "$library is new"
