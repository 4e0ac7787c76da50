package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// report writes the table for a Vault with a number of nodes. It forms the ratios within a round, because a disturbance
// affects the whole round, and prints their medians.
func report(w io.Writer, nodes int, rounds []round) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\n%d exchanges, %d node(s)\tmedian\tp99\tmax\tthis/one put\t\n", len(rounds), nodes)
	for _, row := range []struct {
		name string
		of   func(round) []time.Duration
	}{
		{"window: consumed to received", func(r round) []time.Duration { return []time.Duration{r.window} }},
		{"exchange: asked for to received", func(r round) []time.Duration { return []time.Duration{r.exchange} }},
		{"one KV put", func(r round) []time.Duration { return r.puts[:] }},
		{"two KV puts", func(r round) []time.Duration { return []time.Duration{r.puts[0] + r.puts[1]} }},
	} {
		var (
			times  []time.Duration
			ratios []float64
		)
		for _, r := range rounds {
			onePut := (r.puts[0] + r.puts[1]) / 2
			for _, took := range row.of(r) {
				times = append(times, took)
				ratios = append(ratios, float64(took)/float64(onePut))
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.2f\t\n", row.name,
			millis(quantile(times, 0.5)), millis(quantile(times, 0.99)), millis(quantile(times, 1)), quantile(ratios, 0.5))
	}
	return table.Flush()
}

// millis formats a duration for a table.
func millis(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

// quantile returns the smallest value that this part of the series does not exceed. The series must not be empty.
func quantile[T time.Duration | float64](series []T, part float64) T {
	sorted := slices.Sorted(slices.Values(series))
	return sorted[max(int(math.Ceil(part*float64(len(sorted)))), 1)-1]
}
