package report

import (
	"fmt"
	"math"
	"strings"
)

// ratio formats a summary of ratios.
func ratio(s Summary) string { return fmt.Sprintf("**%.2f** (%.2f–%.2f)", s.Median, s.Low, s.High) }

// spread formats a summary of figures.
func spread(s Summary) string {
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Low), number(s.High))
}

// number formats a figure with three significant digits, or more if it is larger.
func number(x float64) string {
	digits := 2 - int(math.Floor(math.Log10(math.Max(math.Abs(x), 0.001))))
	return fmt.Sprintf("%.*f", min(max(digits, 0), 3), x)
}

// percent formats a share as a percentage.
func percent(s Summary) string { return fmt.Sprintf("%.0f %%", 100*s.Median) }

// atLeast returns the verdict on a ratio that must be at least an aim.
func atLeast(aim float64, s Summary) string { return verdict(s.Median >= aim, s.High >= aim) }

// atMost returns the verdict on a ratio that must be at most an aim.
func atMost(aim float64, s Summary) string { return verdict(s.Median <= aim, s.Low <= aim) }

// within returns the verdict on a single figure that must be at most an aim.
func within(aim, x float64) string { return verdict(x <= aim, false) }

// verdict says whether the aim was met, missed, or missed with rounds that met it.
func verdict(met, sometimes bool) string {
	switch {
	case met:
		return "met"
	case sometimes:
		return "missed, met in some rounds"
	default:
		return "missed"
	}
}

// indent formats a text as a block of code.
func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}

// last returns the rung with the most accounts.
func last(rungs []Rung) Rung { return rungs[len(rungs)-1] }

// growth returns the latency from memory with the most accounts, divided by that with the fewest.
func growth(l Ladder) string {
	return "**" + number(last(l.Rungs).Warm.P50.Median/l.Rungs[0].Warm.P50.Median) + "**"
}

// ratioOf returns the ratio of two medians.
func ratioOf(ours, theirs Summary) string { return "**" + number(ours.Median/theirs.Median) + "**" }

// sum returns the sum of numbers.
func sum(numbers ...int) float64 {
	total := 0
	for _, n := range numbers {
		total += n
	}
	return float64(total)
}

// connections formats a number of connections.
func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

// lastIdle returns the last state that was measured.
func lastIdle(idle []Idle) Idle { return idle[len(idle)-1] }
