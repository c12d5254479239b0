# shellcheck shell=bash disable=SC2154 # setup.sh sets cache and repo
# Container images as archives in the cache. Source it after setup.sh.

# Set `builder`: docker or podman if one works, otherwise buildah, which needs neither a service nor a registry
need_builder() {
  for builder in docker podman; do
    ! "$builder" info >/dev/null 2>&1 || return 0
  done
  builder=buildah
  need_packages buildah netavark
}

# Set `options`: build options for this machine
need_base() {
  local ca=/etc/ssl/certs/ca-certificates.crt
  options=()
  [ ! -f $ca ] || options+=(--secret "id=ca,src=$ca")
  if [ -n "${BASE:-}" ]; then options+=(--build-arg "BASE=$BASE"); return; fi
  [ "$builder" = buildah ] || return 0
  need_packages debootstrap
  our_buildah inspect --type image localhost/trixie >/dev/null 2>&1 || step "base image, by debootstrap" 60 base_image
  options+=(--build-arg BASE=localhost/trixie)
}

# Replaces debian:trixie-slim, and omits the same files
base_image() {
  local folder=$cache/images/trixie
  rm -rf "$folder"
  debootstrap --variant=minbase trixie "$folder" &&
    rm -rf "${folder:?}"/{dev,proc,sys}/* "$folder"/usr/share/{doc,man,info,locale}/* "$folder"/var/{cache,log,lib/apt/lists}/* &&
    printf 'FROM scratch\nADD . /\nENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nCMD ["bash"]\n' | our_buildah bud --tag localhost/trixie --file - "$folder" && rm -rf "$folder"
}

# build_archive ARCHIVE TAG FOLDER [OPTION...]: build FOLDER's Dockerfile; the archive is renamed when complete
build_archive() {
  local archive=$1 tag=$2 folder=$3 unfinished=$1.unfinished
  shift 3
  rm -f "$unfinished"
  case $builder in
    buildah)
      # current limits: newer versions of buildah raise them, which fails in a container
      our_buildah bud --isolation chroot --network host --layers --ulimit "nproc=$(most_processes)" --ulimit "nofile=$(ulimit -Hn)" \
        --tag "$tag" "$@" "$folder" &&
        our_buildah push "$tag" "oci-archive:$unfinished:$tag" && forget_old_images
      ;;
    *) "$builder" build --tag "$tag" "$@" "$folder" && "$builder" save --output "$unfinished" "$tag" ;;
  esac && mv "$unfinished" "$archive"
}

# buildah lowers its limit to the kernel's pid_max and then can't raise it.
most_processes() { { ulimit -Hu; cat /proc/sys/kernel/pid_max; } | grep -x '[0-9]*' | sort --numeric-sort | head -n 1; }

# Remove images that lost their tag to a newer one, except the newest: it is the build stage, whose layers the next build reuses.
# An interrupted build leaves a container, which would keep its image.
forget_old_images() {
  our_buildah rm --all >/dev/null
  our_buildah images --filter dangling=true --quiet | tail --lines +2 | while read -r id; do our_buildah rmi "$id"; done
}

# With its own storage, apart from other images
our_buildah() { buildah --root "$cache/images/storage" --runroot "$cache/images/running" --storage-driver overlay "$@"; }
