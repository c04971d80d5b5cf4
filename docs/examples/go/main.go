// Publishes one event to Milepost: go run . 127.0.0.1:9092 milepost.events
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type event struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Subject     string    `json:"subject"`
	Time        time.Time `json:"time"`
	Data        report    `json:"data"`
}

type report struct {
	Milestone  string `json:"milestone"`
	Classifier string `json:"classifier"`
	Date       string `json:"date"`
}

func main() {
	bootstrap, topic := os.Args[1], os.Args[2]
	claim := event{
		SpecVersion: "1.0",
		// An id names this claim for ever. It follows from the claim, so that a second run says the same thing again.
		ID:      "terminal-2/permit-approved/EST/2027-04-15",
		Source:  "//port-authority.example",
		Type:    "milepost.milestone.reported.v1",
		Subject: "harbour/terminal-2",
		// When the claim was made. A publisher that may run twice takes it from its own records, not from the clock.
		Time: time.Date(2026, 2, 3, 13, 30, 0, 0, time.UTC),
		Data: report{Milestone: "permit-approved", Classifier: "EST", Date: "2027-04-15"},
	}
	value, err := json.Marshal(claim)
	if err != nil {
		log.Fatal(err)
	}
	// The client waits for all in-sync replicas unless told otherwise.
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	record, err := client.ProduceSync(context.Background(), &kgo.Record{
		Topic:   topic,
		Key:     []byte("harbour"),
		Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}},
		Value:   value,
	}).First()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("published to %s, partition %d, offset %d\n", topic, record.Partition, record.Offset)
}
