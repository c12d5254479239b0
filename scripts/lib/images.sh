# shellcheck shell=bash disable=SC2154 # setup.sh sets cache and repo
# Container images with whatever builds them here, as archives in the cache: sourced, after setup.sh.

# In `builder`: docker or podman where one works, else buildah, which needs neither a service nor a registry
need_builder() {
  for builder in docker podman; do
    ! "$builder" info >/dev/null 2>&1 || return 0
  done
  builder=buildah
  need_packages buildah netavark
}

# In `options`: what the Dockerfile needs to know about this machine
need_base() {
  local ca=/etc/ssl/certs/ca-certificates.crt
  options=()
  [ ! -f $ca ] || options+=(--secret "id=ca,src=$ca")
  [ "$builder" = buildah ] || return 0
  need_packages debootstrap
  our_buildah inspect --type image localhost/trixie >/dev/null 2>&1 || step "base image, by debootstrap" 60 base_image
  options+=(--build-arg BASE=localhost/trixie)
}

# Stands in for debian:trixie-slim, and leaves out what that leaves out
base_image() {
  local folder=$cache/images/trixie
  rm -rf "$folder"
  debootstrap --variant=minbase trixie "$folder" &&
    rm -rf "${folder:?}"/{dev,proc,sys}/* "$folder"/usr/share/{doc,man,info,locale}/* "$folder"/var/{cache,log,lib/apt/lists}/* &&
    printf 'FROM scratch\nADD . /\nENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nCMD ["bash"]\n' | our_buildah bud --tag localhost/trixie --file - "$folder" && rm -rf "$folder"
}

# build_archive ARCHIVE TAG FOLDER [OPTION...]: from FOLDER's Dockerfile; the archive appears when it is whole
build_archive() {
  local archive=$1 tag=$2 folder=$3 unfinished=$1.unfinished
  shift 3
  rm -f "$unfinished"
  case $builder in
    buildah)
      # limits as they are: newer buildahs would raise them, which a machine that is a container itself forbids
      our_buildah bud --isolation chroot --network host --layers --ulimit "nproc=$(most_processes)" --ulimit "nofile=$(ulimit -Hn)" \
        --tag "$tag" "$@" "$folder" &&
        our_buildah push "$tag" "oci-archive:$unfinished:$tag" && forget_old_images
      ;;
    *) "$builder" build --tag "$tag" "$@" "$folder" && "$builder" save --output "$unfinished" "$tag" ;;
  esac && mv "$unfinished" "$archive"
}

# Buildah takes the kernel's number of process ids as its limit where that is the lower one, and can't go above it again.
most_processes() { { ulimit -Hu; cat /proc/sys/kernel/pid_max; } | grep -x '[0-9]*' | sort --numeric-sort | head -n 1; }

# Those that have lost their tag to a newer one; the newest without a tag is the build stage, whose layers the next build uses again.
# A build that was cut off leaves its container, which would hold on to its image.
forget_old_images() {
  our_buildah rm --all >/dev/null
  our_buildah images --filter dangling=true --quiet | tail --lines +2 | while read -r id; do our_buildah rmi "$id"; done
}

# With storage of its own, so that it meets nobody else's images
our_buildah() { buildah --root "$cache/images/storage" --runroot "$cache/images/running" --storage-driver overlay "$@"; }
