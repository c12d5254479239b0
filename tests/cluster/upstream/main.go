// An external metrics server as others build them, on the library of most, for the tests of standing in front of one: it serves one metric,
// of a value that is given.
package main

import (
	"context"
	"os"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"
	"k8s.io/metrics/pkg/apis/external_metrics"
	basecmd "sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
)

type one struct{ name, value *string }

func (o one) GetExternalMetric(_ context.Context, _ string, selector labels.Selector, info provider.ExternalMetricInfo) (*external_metrics.ExternalMetricValueList, error) {
	list := &external_metrics.ExternalMetricValueList{}
	of := map[string]string{"queue": "mail"}
	if info.Metric == *o.name && selector.Matches(labels.Set(of)) {
		list.Items = append(list.Items, external_metrics.ExternalMetricValue{
			MetricName: info.Metric, MetricLabels: of, Timestamp: metav1.Now(), Value: resource.MustParse(*o.value),
		})
	}
	return list, nil
}

func (o one) ListAllExternalMetrics() []provider.ExternalMetricInfo {
	return []provider.ExternalMetricInfo{{Metric: *o.name}}
}

func main() {
	cmd := &basecmd.AdapterBase{Name: "upstream-adapter"}
	served := one{cmd.Flags().String("metric", "queue-length", "its name"), cmd.Flags().String("value", "6", "a quantity")}
	if err := cmd.Flags().Parse(os.Args); err != nil {
		klog.Fatal(err)
	}
	cmd.WithExternalMetrics(served)
	if err := cmd.Run(context.Background()); err != nil {
		klog.Fatal(err)
	}
}
