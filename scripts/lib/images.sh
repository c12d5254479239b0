# shellcheck shell=bash disable=SC2154 # setup.sh sets cache and repo
# Container images with whatever builds them here, as archives in the cache: sourced, after setup.sh.

# docker or podman where one works, else buildah, which needs no service and no registry
image_builder() {
  local engine
  for engine in docker podman; do
    ! "$engine" info >/dev/null 2>&1 || { echo $engine; return; }
  done
  echo buildah
}

# build_archive ARCHIVE TAG FOLDER [OPTION...]: build FOLDER's Dockerfile; the archive appears when it is whole
build_archive() {
  local archive=$1 tag=$2 folder=$3
  shift 3
  mkdir -p "${archive%/*}"
  case $builder in
    buildah)
      our_buildah bud --isolation chroot --network host --layers --tag "$tag" "$@" "$folder" && rm -f "$archive.unfinished" &&
        our_buildah push "$tag" "oci-archive:$archive.unfinished:$tag"
      ;;
    *) $builder build --tag "$tag" "$@" "$folder" && $builder save --output "$archive.unfinished" "$tag" ;;
  esac && mv "$archive.unfinished" "$archive"
}

# Its own storage, so that it meets nobody else's images
our_buildah() { buildah --root "$cache/images/storage" --runroot "$cache/images/running" --storage-driver overlay "$@"; }
