// Decides by the cluster's NetworkPolicies which packets in netfilter queue 100 pass, until SIGTERM: kube-network-policies, with a kubeconfig
// instead of a pod's ServiceAccount.
//
//	network-policies KUBECONFIG NODE
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	shared := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(
		client,
		shared.Networking().V1().NetworkPolicies(),
		shared.Core().V1().Namespaces(),
		shared.Core().V1().Pods(),
		nil, nil, nil, nil,
		// FailOpen: if it is killed, everything passes. NRIdisabled would crash it at a packet from outside the pods.
		networkpolicy.Config{NodeName: os.Args[2], FailOpen: true},
	)
	if err != nil {
		log.Fatal(err)
	}
	shared.Start(ctx.Done())
	if err := controller.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
