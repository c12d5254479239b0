# shellcheck shell=bash disable=SC2154 # setup.sh sets cache and repo
# Programs built once from Go modules, in the cache under bin/VERSION/NAME. Source it after setup.sh.

# the version in the environment, of the running cluster, or the default
K8S_VERSION=${K8S_VERSION:-$(cat "$cache/run/version" 2>/dev/null || echo 1.37.2)}

CERT_MANAGER_VERSION=1.21.2
PROMETHEUS_OPERATOR_VERSION=0.85.0

# name, folder in the cache, what to build (a package of Kubernetes, a module at a version, a folder here), seconds on two cores without a build cache
programs="
kube-apiserver           kubernetes-$K8S_VERSION  k8s.io/kubernetes/cmd/kube-apiserver               320
kube-controller-manager  kubernetes-$K8S_VERSION  k8s.io/kubernetes/cmd/kube-controller-manager       80
kube-scheduler           kubernetes-$K8S_VERSION  k8s.io/kubernetes/cmd/kube-scheduler                10
kubelet                  kubernetes-$K8S_VERSION  k8s.io/kubernetes/cmd/kubelet                       25
kube-proxy               kubernetes-$K8S_VERSION  k8s.io/kubernetes/cmd/kube-proxy                    10
kubectl                  kubernetes-$K8S_VERSION  k8s.io/kubernetes/cmd/kubectl                       30
coredns                  coredns-1.15.0           ./coredns                                           45
pause                    pause-1                  ./pause                                              2
helm                     helm-4.3.1               helm.sh/helm/v4/cmd/helm@v4.3.1                    135
helm3                    helm-3.22.0              helm.sh/helm/v3/cmd/helm@v3.22.0                   120
kubeconform              kubeconform-0.8.0        github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0  5
upstream-adapter         upstream-adapter-1       ./../../tests/cluster/upstream                      90
network-policies         network-policies-1       ./network-policies                                  60
bombardier               bombardier-1.2.6         github.com/codesenberg/bombardier@v1.2.6            10
"
PATH=$(awk -v bin="$cache/bin/" 'NF && !seen[$2]++ { printf "%s%s:", bin, $2 }' <<<"$programs")$PATH

# need_binaries NAME...: build the missing ones; all are on the PATH
need_binaries() {
  [ -z "$(missing_binaries "$@")" ] || locked programs build_missing "$@"
}

missing_binaries() {
  local name folder package seconds
  while read -r name folder package seconds; do
    [[ " $* " != *" $name "* ]] || [ -x "$cache/bin/$folder/$name" ] || echo "$name $folder $package $seconds"
  done <<<"$programs"
}

build_missing() {
  local list i=0 n name folder package seconds
  list=$(missing_binaries "$@") # another run may have built them in the meantime
  [ -n "$list" ] || return 0
  need_go
  n=$(wc -l <<<"$list")
  say "building $n programs from Go modules, once; about $(awk '{ s += $4 } END { print int(s / 60) + 1 }' <<<"$list") minutes on two cores"
  while read -r name folder package seconds <&3; do
    i=$((i + 1))
    step "[$i/$n] $name" "$seconds" build_binary "$cache/bin/$folder" "$name" "$package"
  done 3<<<"$list"
}

# An interrupted build leaves no incomplete program: it is renamed when complete.
build_binary() {
  local folder=$1 name=$2 package=$3 unfinished=$1/unfinished
  mkdir -p "$unfinished" || return
  case $package in
    k8s.io/*) kubernetes_module && go -C "$cache/src/kubernetes-$K8S_VERSION" build -trimpath -ldflags "$(kubernetes_flags)" -o "$unfinished/$name" "$package" ;;
    ./*) go -C "$repo/scripts/lib/$package" build -trimpath -ldflags '-s -w' -o "$unfinished/$name" . ;;
    *) GOBIN=$unfinished go install -trimpath -ldflags '-s -w' "$package" ;;
  esac && mv "$unfinished"/* "$folder/$name" && rm -r "$unfinished" # helm3 is built as helm
}

# need_kinds: $KINDS contains the CRDs of cert-manager and Prometheus Operator, from their Go modules
need_kinds() {
  export KINDS=$cache/kinds/cert-manager-$CERT_MANAGER_VERSION-prometheus-operator-$PROMETHEUS_OPERATOR_VERSION
  [ -d "$KINDS" ] || { need_go && locked programs step "kinds of cert-manager and Prometheus Operator" 10 copy_kinds; }
}

copy_kinds() {
  local cert_manager prometheus_operator
  cert_manager=$(module_folder "github.com/cert-manager/cert-manager@v$CERT_MANAGER_VERSION") &&
    prometheus_operator=$(module_folder "github.com/prometheus-operator/prometheus-operator@v$PROMETHEUS_OPERATOR_VERSION") &&
    mkdir -p "$KINDS.unfinished" &&
    cp "$cert_manager"/deploy/crds/cert-manager.io_{certificates,issuers}.yaml \
      "$prometheus_operator"/example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml "$KINDS.unfinished" &&
    mv "$KINDS.unfinished" "$KINDS"
}

module_folder() { (cd / && go mod download -json "$1") | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'; }

# Kubernetes can't be built by `go install`: its go.mod points to its own staging folders. This one points to their published versions.
kubernetes_module() {
  local folder=$cache/src/kubernetes-$K8S_VERSION theirs name
  [ ! -f "$folder/go.sum" ] || return 0
  mkdir -p "$folder" && theirs=$(cd / && go list -m -f '{{.GoMod}}' "k8s.io/kubernetes@v$K8S_VERSION") || return
  {
    echo "module beanscale/kubernetes"
    grep -m 1 '^go ' "$theirs"
    echo "require k8s.io/kubernetes v$K8S_VERSION"
    sed -n "s#^\s*\(k8s.io/[a-z-]*\) => ./staging.*#replace \1 => \1 v0.${K8S_VERSION#1.}#p" "$theirs"
    for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do echo "tool k8s.io/kubernetes/cmd/$name"; done
  } >"$folder/go.mod"
  go -C "$folder" mod tidy
}

kubernetes_flags() {
  local version=k8s.io/component-base/version
  echo "-s -w -X $version.gitVersion=v$K8S_VERSION -X $version.gitMajor=1 -X $version.gitMinor=$(cut -d. -f2 <<<"$K8S_VERSION")"
}
