package main

import (
	"slices"
	"time"

	"github.com/vault-plugin-pagero/vault-plugin-pagero/acceptance/bench/internal/report"
)

// summarise returns the median and the spread of a series. The series must not be empty.
func summarise(series []float64) report.Summary {
	sorted := slices.Sorted(slices.Values(series))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return report.Summary{Median: median, Low: sorted[0], High: sorted[len(sorted)-1]}
}

// quotients divides two series round by round. A disturbance of a round affects both.
func quotients(numerator, denominator []float64) []float64 {
	ratios := make([]float64, len(numerator))
	for i := range numerator {
		ratios[i] = numerator[i] / denominator[i]
	}
	return ratios
}

// compare summarises two series and their ratio.
func compare(ours, theirs []float64) report.Comparison {
	return report.Comparison{Ours: summarise(ours), Theirs: summarise(theirs), Ratio: summarise(quotients(ours, theirs))}
}

// millis returns a duration in milliseconds.
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// micros returns a duration in microseconds.
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
