#!/usr/bin/env bash
# Runs the Dockerfile's RUN and COPY lines in a clean directory, without a container engine, and looks at what would be
# in the image: names, dynamic libraries, size, no file that it does not need. Builds from the committed tree.
#   PROFILE=release FEATURES= CARGO_TARGET_DIR=/somewhere/kept packaging/check-image.sh
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
clean=$(mktemp -d)
trap 'rm -rf "$clean"' EXIT
fail() { echo "check-image: $*" >&2; exit 1; }

mkdir -p "$clean/src" "$clean/root"
git -C "$repository" archive HEAD | tar x -C "$clean/src"
for ignored in $(grep -v '^\*\*' "$repository/.dockerignore"); do rm -rf "${clean:?}/src/"$ignored; done
cd "$clean/src"
dockerfile=$clean/src/Dockerfile

# Arguments as the Dockerfile has them, the environment's over them.
argument() { sed -n "s/^ARG $1=//p" "$dockerfile" | head -1; }
export PROFILE=${PROFILE:-$(argument PROFILE)} FEATURES=${FEATURES:-$(argument FEATURES)}
export COMMIT=${COMMIT:-$(git -C "$repository" rev-parse HEAD)}
if [ -n "${CARGO_TARGET_DIR:-}" ]; then ln -s "$CARGO_TARGET_DIR" target; unset CARGO_TARGET_DIR; fi

# The build stage: RUN lines as they stand, with /out in the clean directory.
mapfile -t runs < <(sed -n 's/^RUN //p' "$dockerfile")
[ "${#runs[@]}" -ge 2 ] || fail "the Dockerfile has ${#runs[@]} RUN lines"
for run in "${runs[@]}"; do
  run=${run//\/out/$clean\/out}
  echo "== $run"
  sh -euc "$run"
done

# The image: COPY --from=build lines.
copies=0
while read -r from to; do
  mkdir -p "$clean/root$to"
  cp -a "$clean$from/." "$clean/root$to/"
  copies=$((copies + 1))
done < <(sed -n 's/^COPY --from=build \(--chown=[0-9:]* \)\{0,1\}//p' "$dockerfile")
[ "$copies" -ge 1 ] || fail "the Dockerfile copies nothing"

bin=$clean/root/usr/local/bin
echo "== what the image holds beside its base"
(cd "$clean/root" && find . -mindepth 1 \( -type f -o -type l \) -printf '%p %l %s bytes\n')
[ "$(cd "$bin" && find . -mindepth 1 | sort | tr '\n' ' ')" = "./assay ./json_rpc_snoop " ] || fail "not the two names"

# The base image has the C library, libgcc_s and libstdc++.
libraries=$(ldd "$bin/assay" | awk '{print $1}' | xargs -n1 basename | sort | tr '\n' ' ')
echo "== libraries: $libraries"
for library in $libraries; do
  case $library in
    linux-vdso.so.1 | ld-linux-*.so.* | libc.so.6 | libm.so.6 | libgcc_s.so.1 | libdl.so.2 | libpthread.so.0 | librt.so.1) ;;
    *) fail "$library is not in the base image" ;;
  esac
done
# Bookworm's C library is 2.36.
newest=$(objdump -T "$bin/assay" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
echo "== newest symbol of the C library: ${newest:-unknown}"
[ "$(printf '%s\nGLIBC_2.36\n' "${newest:-GLIBC_2.0}" | sort -V | tail -1)" = GLIBC_2.36 ] ||
  fail "$newest is newer than the base image's C library (this machine's is newer too)"

echo "== it runs under both names"
cd "$bin"
env -i ./assay --version
env -i ./assay --version | grep -q "${COMMIT:0:12}" || fail "the version does not name the commit"
env -i ./json_rpc_snoop --help | grep -q -- --bind-address || fail "json_rpc_snoop is not a snooper"
# It says no, with exit code 1: nothing runs here.
said=$(env -i HOME="$clean" ./assay health 2>&1 || true)
[[ $said == *'no node'* ]] || fail "the health check does not run: $said"
echo "ok"
