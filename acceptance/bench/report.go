package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// results are answers per second by target and round, for one number of connections.
type results map[string][]float64

// summary is the middle and the spread of a series.
type summary struct{ median, low, high float64 }

// summarise returns the summary of a series that is not empty.
func summarise(series []float64) summary {
	sorted := slices.Sorted(slices.Values(series))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return summary{median: median, low: sorted[0], high: sorted[len(sorted)-1]}
}

// ratios divides two series round by round: what disturbs a round disturbs both.
func ratios(numerator, denominator []float64) []float64 {
	quotients := make([]float64, len(numerator))
	for i := range numerator {
		quotients[i] = numerator[i] / denominator[i]
	}
	return quotients
}

// report writes the table for one number of connections: the rates, then ours against the others.
func report(w io.Writer, connections int, targets []target, measured results) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\n%d connections\trequests/s\tlowest\thighest\tpagero/this\tlowest\thighest\t\n", connections)
	ours := measured[pageroTarget]
	for _, t := range targets {
		rate := summarise(measured[t.name])
		ratio := summarise(ratios(ours, measured[t.name]))
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.0f\t%.3f\t%.3f\t%.3f\t\n",
			t.name, rate.median, rate.low, rate.high, ratio.median, ratio.low, ratio.high)
	}
	return table.Flush()
}
