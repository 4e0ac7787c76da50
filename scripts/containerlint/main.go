// Command containerlint lints Containerfiles with BuildKit's own linter, and loads compose files with
// Compose's own loader. It prints what it finds and exits with 1 if it finds anything. It needs no
// container engine and no network.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/opencontainers/go-digest"
)

func main() {
	failed := false
	for _, path := range os.Args[1:] {
		lint := lintContainerfile
		if strings.HasSuffix(path, ".yaml") {
			lint = loadCompose
		}
		findings, err := lint(context.Background(), path)
		if err != nil {
			findings = append(findings, err.Error())
		}
		for _, finding := range findings {
			fmt.Fprintf(os.Stderr, "%s: %s\n", path, finding)
			failed = true
		}
	}
	if failed || len(os.Args) == 1 {
		os.Exit(1)
	}
}

// lintContainerfile returns the warnings of BuildKit's linter.
func lintContainerfile(ctx context.Context, path string) ([]string, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the argument of a person at a terminal
	if err != nil {
		return nil, err
	}
	source := llb.NewSourceMap(nil, path, "Dockerfile", content)
	source.Definition = &llb.Definition{}
	results, err := dockerfile2llb.DockerfileLint(ctx, content, dockerfile2llb.ConvertOpt{SourceMap: source, MetaResolver: noRegistry{}})
	if err != nil {
		return nil, err
	}
	var findings []string
	if results.Error != nil {
		findings = append(findings, results.Error.Message)
	}
	for _, w := range results.Warnings {
		findings = append(findings, fmt.Sprintf("%s: %s (%s)", w.RuleName, w.Detail, w.Description))
	}
	return findings, nil
}

// noRegistry stands in for the registry of the base images: an empty configuration for each.
type noRegistry struct{}

func (noRegistry) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return ref, "", []byte(`{"os":"linux","architecture":"amd64"}`), nil
}

// loadCompose returns what Compose would refuse.
func loadCompose(ctx context.Context, path string) ([]string, error) {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithResolvedPaths(true))
	if err != nil {
		return nil, err
	}
	project, err := options.LoadProject(ctx)
	if err != nil {
		return nil, err
	}
	var findings []string
	for name, service := range project.Services {
		if service.Build == nil {
			continue
		}
		dockerfile := service.Build.Dockerfile
		if !filepath.IsAbs(dockerfile) {
			dockerfile = filepath.Join(service.Build.Context, dockerfile)
		}
		if _, err := os.Stat(dockerfile); err != nil {
			findings = append(findings, fmt.Sprintf("service %s: %s", name, err))
		}
	}
	return findings, nil
}
