// Reads manifests as most clients do: with Go's encoding/json, into the types of the image specification. One
// document a line, in base64; one line for each, with what it refers to.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
)

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

type document struct {
	Config    descriptor   `json:"config"`
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"`
	Subject   *descriptor  `json:"subject"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		text, err := base64.StdEncoding.DecodeString(lines.Text())
		if err != nil {
			panic(err)
		}
		var read document
		if json.Unmarshal(text, &read) != nil {
			fmt.Fprintln(out, "unreadable")
			continue
		}
		show := func(kind string, found ...descriptor) {
			for _, one := range found {
				if one.MediaType == "" {
					// What the registry says of content without a type.
					one.MediaType = "application/octet-stream"
				}
				if one.Digest != "" {
					fmt.Fprintf(out, "%s %s %d %s;", kind, one.Digest, one.Size, one.MediaType)
				}
			}
		}
		show("config", read.Config)
		show("layer", read.Layers...)
		show("manifest", read.Manifests...)
		if read.Subject != nil {
			show("subject", *read.Subject)
		}
		fmt.Fprintln(out)
	}
}
