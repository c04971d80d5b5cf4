#!/usr/bin/env bash
# Builds the image with docker, podman or buildah, whichever is there, and writes the list of what is in it beside.
#
#   IMAGE=milepost:dev    its name
#   BUILDER=podman        one of the three; without it, the first that can build
#   BASE=…, RUNTIME=…     the images below it, by digest in a release; docs/container.md
#   SBOM=FILE             where to write the list; dist/milepost-<version>.cdx.json without it
#   SOURCE=URL            where the source is, for a label
#   BUILD_OPTIONS=…       more options of the builder: --layers takes what an earlier build left
set -euo pipefail
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image=${IMAGE:-milepost:$version}
sbom=${SBOM:-dist/milepost-$version.cdx.json}

can_build() {
  case $1 in
    docker) docker version >/dev/null 2>&1 ;; # the client alone builds nothing
    *) command -v "$1" >/dev/null ;;
  esac
}

builder=${BUILDER:-}
if [ -z "$builder" ]; then
  for candidate in docker podman buildah; do
    if can_build "$candidate"; then builder=$candidate; break; fi
  done
fi
case $builder in
  docker | podman | buildah) ;;
  "") echo "nothing here builds an image: start Docker, or install podman or buildah (apt-get install podman)" >&2; exit 1 ;;
  *) echo "BUILDER=$builder builds no image: docker, podman or buildah do" >&2; exit 1 ;;
esac

# The commit, not the clock: the same files give the same image.
created=0
labels=(--label "org.opencontainers.image.version=$version")
if revision=$(git rev-parse --verify --quiet HEAD 2>/dev/null); then
  created=$(git show --no-patch --format=%ct HEAD)
  [ -z "$(git status --porcelain)" ] || revision+=-changed
  labels+=(--label "org.opencontainers.image.revision=$revision")
fi
labels+=(--label "org.opencontainers.image.created=$(date --utc --date="@$created" +%Y-%m-%dT%H:%M:%SZ)")
[ -z "${SOURCE:-}" ] || labels+=(--label "org.opencontainers.image.source=$SOURCE")
[ -z "${BASE:-}" ] || labels+=(--label "org.opencontainers.image.base.name=${RUNTIME:-$BASE}")

arguments=()
for name in BASE RUNTIME; do
  [ -z "${!name:-}" ] || arguments+=(--build-arg "$name=${!name}")
done

# The machine's own way to its package registry, where it has one.
hand_in() {
  local id=$1 file
  shift
  for file in "$@"; do
    if [ -n "$file" ] && [ -f "$file" ]; then arguments+=(--secret "id=$id,src=$file"); return; fi
  done
}
hand_in pip.conf "${PIP_CONFIG_FILE:-}" ~/.config/pip/pip.conf ~/.pip/pip.conf /etc/pip.conf
hand_in ca-certificates "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt

# A layer that is taken from an earlier build has the time of that: none is, unless BUILD_OPTIONS=--layers asks for it.
case $builder in
  docker) build=(docker build --build-arg "SOURCE_DATE_EPOCH=$created") ;;
  podman) build=(podman build --layers=false --format oci --timestamp "$created") ;;
  buildah) build=(buildah build --layers=false --format oci --timestamp "$created") ;;
esac
read -ra options <<<"${BUILD_OPTIONS:-}"
"${build[@]}" "${options[@]}" "${labels[@]}" "${arguments[@]}" --file deploy/image/Containerfile --tag "$image" .

mkdir -p "$(dirname "$sbom")"
inside=opt/milepost/sbom.cdx.json
if [ "$builder" = buildah ]; then
  container=$(buildah from "$image")
  trap 'buildah rm "$container" >/dev/null' EXIT
  # Without root, a mount is seen in a name space of buildah's own.
  [ "$(id -u)" = 0 ] && in_space=() || in_space=(buildah unshare)
  # shellcheck disable=SC2016 # the variables are those of the inner shell
  "${in_space[@]}" sh -c 'cat "$(buildah mount "$1")/$2"' sh "$container" "$inside" >"$sbom"
else
  container=$($builder create "$image")
  trap '$builder rm "$container" >/dev/null' EXIT
  $builder cp "$container:/$inside" "$sbom"
fi
echo "image $image, built by $builder; what is in it: $sbom"
