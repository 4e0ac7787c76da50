package report

import (
	"fmt"
	"image/color"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	_ "gonum.org/v1/plot/vg/vgsvg" // the format of the plots
)

// The size of a plot.
const (
	plotWidth  = 18 * vg.Centimeter
	plotHeight = 9 * vg.Centimeter
	barWidth   = 0.9 * vg.Centimeter
)

// colours are the colours of the series. They suit people with red-green colour blindness.
var colours = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff}, color.RGBA{0x00, 0x9e, 0x73, 0xff}, color.RGBA{0xcc, 0x79, 0xa7, 0xff},
}

// series is a row of bars of one colour, or a line.
type series struct {
	name   string
	values []Summary
	xs     []float64 // of a line
}

// plots draws the plots of all available measurements.
func plots(dir string, b *Bench, s *Scale) error {
	if b != nil {
		if err := benchPlots(dir, b); err != nil {
			return err
		}
	}
	if s != nil {
		return ladderPlots(dir, "scale", s.Ladder)
	}
	return nil
}

// benchPlots draws the results of "make bench".
func benchPlots(dir string, b *Bench) error {
	var (
		groups     []string
		rate, cost []series
		latency    = []series{{name: "p50 to bare"}, {name: "p99 to bare"}}
	)
	for i, row := range b.Cached {
		groups = append(groups, connections(row.Connections))
		for j, t := range row.Targets[1:] {
			if i == 0 {
				rate, cost = append(rate, series{name: "to " + t.Name}), append(cost, series{name: "to " + t.Name})
			}
			rate[j].values, cost[j].values = append(rate[j].values, t.RateRatio), append(cost[j].values, t.CPURatio)
			if t.Name == "bare" {
				latency[0].values, latency[1].values = append(latency[0].values, t.P50Ratio), append(latency[1].values, t.P99Ratio)
			}
		}
	}
	if err := bars(dir, "cached.svg", "Cached reads a second, the plugin's to another's", "ratio", groups, rate, 1); err != nil {
		return err
	}
	if err := bars(dir, "cached-cpu.svg", "Processor time of Vault and plugin for a cached read", "ratio", groups, cost, 1); err != nil {
		return err
	}
	if err := bars(dir, "cached-latency.svg", "Latency of cached reads, the plugin's to the bare plugin's", "ratio", groups, latency, 1); err != nil {
		return err
	}
	err := bars(dir, "aims.svg", "Ratios that have an upper aim", "ratio",
		[]string{"same account hangs", "another hangs", "exchange to puts", "at expiry"},
		[]series{
			{name: "measured", values: []Summary{b.Hang.SameP99.Ratio, b.Hang.OthersP99.Ratio, b.Exchange.Beyond.Ratio, b.Expiry.P99.Ratio}},
			{name: "aim", values: []Summary{exactly(1.2), exactly(1.2), exactly(1.3), exactly(2)}},
		}, 1)
	if err != nil {
		return err
	}
	groups = nil
	busy := []series{{name: "of the endpoint's limit"}, {name: "processors busy"}}
	for _, t := range b.Throughput {
		group := fmt.Sprintf("%d readers", t.Connections)
		if t.Varied {
			group = fmt.Sprintf("%d, out of step", t.Connections)
		}
		groups = append(groups, group)
		busy[0].values, busy[1].values = append(busy[0].values, t.Ratio), append(busy[1].values, t.Busy)
	}
	if err := bars(dir, "exchanges.svg", "Exchanges a second", "share", groups, busy, 0.9); err != nil {
		return err
	}
	return ladderPlots(dir, "accounts", b.Ladder)
}

// ladderPlots draws the results of a mount with more and more accounts.
func ladderPlots(dir, name string, l Ladder) error {
	lines := []series{{name: "after the scan"}, {name: "after all were read"}, {name: "bare plugin"}}
	latency := []series{{name: "p50, from memory"}, {name: "p99, from memory"}}
	for _, r := range l.Rungs {
		x := float64(r.Accounts)
		for i, y := range []Summary{exactly(r.Scanned.Resident), exactly(r.ReadAll.Resident), exactly(l.Bare.Started.Resident)} {
			lines[i].xs, lines[i].values = append(lines[i].xs, x), append(lines[i].values, y)
		}
		first := l.Rungs[0].Warm
		for i, y := range []Summary{over(r.Warm.P50, first.P50.Median), over(r.Warm.P99, first.P99.Median)} {
			latency[i].xs, latency[i].values = append(latency[i].xs, x), append(latency[i].values, y)
		}
	}
	if err := curves(dir, name+"-memory.svg", "Resident memory of the plugin", "MB", lines); err != nil {
		return err
	}
	return curves(dir, name+"-latency.svg", "Latency of reads of random accounts, to that with one account", "ratio", latency)
}

// exactly returns a figure as a summary without a spread.
func exactly(x float64) Summary { return Summary{x, x, x} }

// over returns a summary divided by a figure.
func over(s Summary, by float64) Summary { return Summary{s.Median / by, s.Low / by, s.High / by} }

// points is a series for the plotting library, moved to the right.
type points struct {
	series
	shift float64
}

// Len implements plotter.XYer.
func (p points) Len() int { return len(p.values) }

// XY implements plotter.XYer.
func (p points) XY(i int) (x, y float64) {
	x = float64(i) + p.shift
	if p.xs != nil {
		x = p.xs[i]
	}
	return x, p.values[i].Median
}

// YError implements plotter.YErrorer.
func (p points) YError(i int) (low, high float64) {
	v := p.values[i]
	return v.Median - v.Low, v.High - v.Median
}

// bars draws groups of bars with their spread, and a horizontal line.
func bars(dir, file, title, unit string, groups []string, rows []series, across float64) error {
	p := plot.New()
	p.Title.Text, p.Y.Label.Text, p.Y.Min, p.Legend.Top = title, unit, 0, true
	for i, row := range rows {
		values := make(plotter.Values, len(row.values))
		for j, v := range row.values {
			values[j] = v.Median
		}
		chart, err := plotter.NewBarChart(values, barWidth)
		if err != nil {
			return err
		}
		at := float64(i) - float64(len(rows)-1)/2
		chart.Color, chart.LineStyle.Width = colours[i], 0
		chart.Offset = vg.Length(at) * barWidth
		p.Add(chart)
		p.Legend.Add(row.name, chart)
		// The width of the plot determines the width of a group and the distance of its bars.
		shift := at * float64(barWidth) / (float64(plotWidth-3*vg.Centimeter) / float64(len(groups)))
		errs, err := plotter.NewYErrorBars(points{row, shift})
		if err != nil {
			return err
		}
		p.Add(errs)
	}
	line := plotter.NewFunction(func(float64) float64 { return across })
	line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	p.Add(line)
	p.NominalX(groups...)
	p.X.Min, p.X.Max = -0.5, float64(len(groups))-0.5
	p.Y.Max *= 1.25 // room for the legend
	return p.Save(plotWidth, plotHeight, filepath.Join(dir, file))
}

// curves draws lines over the number of accounts.
func curves(dir, file, title, unit string, rows []series) error {
	p := plot.New()
	p.Title.Text, p.Y.Label.Text, p.X.Label.Text = title, unit, "accounts"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	for i, row := range rows {
		line, dots, err := plotter.NewLinePoints(points{series: row})
		if err != nil {
			return err
		}
		line.Color, line.Width, dots.Color = colours[i], vg.Points(1.5), colours[i]
		errs, err := plotter.NewYErrorBars(points{series: row})
		if err != nil {
			return err
		}
		p.Add(line, dots, errs)
		p.Legend.Add(row.name, line, dots)
	}
	p.Y.Min, p.Y.Max = 0, p.Y.Max*1.3
	return p.Save(plotWidth, plotHeight, filepath.Join(dir, file))
}
