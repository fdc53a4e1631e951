// Load for any NATS server, used the same way against every server (bench/run.ts builds and runs it).
// It prints one line of JSON. All bounds are counts: it ends by itself.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

type result struct {
	Mode      string  `json:"mode"`
	Clients   int     `json:"clients"`
	Messages  int     `json:"messages"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"perSecond"`
	P50Ms     float64 `json:"p50Ms,omitempty"`
	P99Ms     float64 `json:"p99Ms,omitempty"`
	MaxMs     float64 `json:"maxMs,omitempty"`
	Errors    int64   `json:"errors"`
	FirstErr  string  `json:"firstError,omitempty"`
	Silent    int64   `json:"silent,omitempty"`
}

var (
	url      = flag.String("s", "nats://127.0.0.1:4222", "server url")
	mode     = flag.String("mode", "async", "create | create-many | delete | leader | async | sync | consume | ordered | core | many | sweep")
	stream   = flag.String("stream", "BENCH", "stream")
	clients  = flag.Int("clients", 1, "connections")
	window   = flag.Int("window", 500, "publishes in flight per client")
	size     = flag.Int("size", 128, "payload bytes")
	msgs     = flag.Int("msgs", 100000, "messages in all")
	replicas = flag.Int("replicas", 3, "replicas of the stream")
	streams  = flag.Int("streams", 1, "streams, named <stream>-<i>, for -mode create-many, many and sweep")
	distinct = flag.Bool("distinct", false, "a subject of its own for each message, numbered from -from, for -mode async")
	from     = flag.Int("from", 0, "first number of -distinct")
	maxMsgs  = flag.Int64("max-msgs", -1, "max_msgs of the stream, for -mode create")
)

func fail(err error) {
	fmt.Fprintln(os.Stderr, "load:", err)
	os.Exit(1)
}

func connect(options ...nats.Option) *nats.Conn {
	options = append(options, nats.Timeout(5*time.Second), nats.MaxReconnects(20), nats.ReconnectWait(100*time.Millisecond))
	nc, err := nats.Connect(*url, options...)
	if err != nil {
		fail(err)
	}
	return nc
}

func subjectOf(i int) string {
	return fmt.Sprintf("%s.%d", *stream, i)
}

func main() {
	flag.Parse()
	out := result{Mode: *mode, Clients: *clients, Messages: *msgs}
	switch *mode {
	case "create":
		create(*stream)
	case "create-many":
		createMany(&out)
	case "delete":
		nc := connect()
		js, _ := nc.JetStream(nats.MaxWait(10 * time.Second))
		if err := js.DeleteStream(*stream); err != nil {
			fail(err)
		}
	case "leader":
		nc := connect()
		js, _ := nc.JetStream(nats.MaxWait(10 * time.Second))
		info, err := js.StreamInfo(*stream)
		if err != nil {
			fail(err)
		}
		fmt.Println(info.Cluster.Leader)
		return
	case "async":
		async(&out)
	case "many":
		async(&out)
	case "sweep":
		sweep(&out)
	case "sync":
		synchronous(&out)
	case "consume":
		consume(&out)
	case "ordered":
		ordered(&out)
	case "core":
		core(&out)
	default:
		fail(fmt.Errorf("unknown mode %s", *mode))
	}
	if out.Seconds > 0 {
		out.PerSecond = float64(out.Messages) / out.Seconds
	}
	line, _ := json.Marshal(out)
	fmt.Println(string(line))
}

func create(name string) {
	nc := connect()
	defer nc.Close()
	if err := addStream(nc, name); err != nil {
		fail(err)
	}
}

func addStream(nc *nats.Conn, name string) error {
	js, _ := nc.JetStream(nats.MaxWait(10 * time.Second))
	_, err := js.AddStream(&nats.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Replicas: *replicas, Storage: nats.FileStorage, MaxMsgs: *maxMsgs})
	return err
}

// createMany: each client creates its share, one after the other. A create that was not answered is asked again (it may have
// happened: the same configuration is no error) and counted.
func createMany(out *result) {
	var wg sync.WaitGroup
	var faults faults
	start := time.Now()
	for c := 0; c < *clients; c++ {
		wg.Add(1)
		go func(c int) {
			defer wg.Done()
			nc := connect()
			defer nc.Close()
			for i := c; i < *streams; i += *clients {
				name := fmt.Sprintf("%s-%d", *stream, i)
				err := addStream(nc, name)
				for try := 1; err != nil; try++ {
					faults.add(err)
					if try == 10 {
						fail(err)
					}
					err = addStream(nc, name)
				}
			}
		}(c)
	}
	wg.Wait()
	out.Messages = *streams
	out.Seconds = time.Since(start).Seconds()
	faults.tell(out)
}

// faults counts what went wrong and keeps the first of it.
type faults struct {
	count atomic.Int64
	first atomic.Value
}

func (f *faults) add(err error) {
	f.count.Add(1)
	f.first.CompareAndSwap(nil, err.Error())
}

func (f *faults) tell(out *result) {
	out.Errors = f.count.Load()
	if text, ok := f.first.Load().(string); ok {
		out.FirstErr = text
	}
}

// async: each client keeps `window` publishes in flight; a publish counts when its ack is in.
func async(out *result) {
	var wg sync.WaitGroup
	var faults faults
	payload := make([]byte, *size)
	each := *msgs / *clients
	begin := make(chan struct{})
	var ready sync.WaitGroup
	for c := 0; c < *clients; c++ {
		wg.Add(1)
		ready.Add(1)
		go func(c int) {
			defer wg.Done()
			nc := connect()
			defer nc.Close()
			js, err := nc.JetStream(nats.PublishAsyncMaxPending(*window), nats.PublishAsyncErrHandler(func(_ nats.JetStream, _ *nats.Msg, err error) {
				faults.add(err)
			}))
			if err != nil {
				fail(err)
			}
			ready.Done()
			<-begin
			for i := 0; i < each; i++ {
				subject := subjectOf(c)
				if *mode == "many" {
					subject = fmt.Sprintf("%s-%d.%d", *stream, (i*(*clients)+c)%*streams, c)
				}
				if *distinct {
					subject = subjectOf(*from + c*each + i)
				}
				if _, err := js.PublishAsync(subject, payload, nats.StallWait(10*time.Second)); err != nil {
					faults.add(err)
				}
			}
			select {
			case <-js.PublishAsyncComplete():
			case <-time.After(60 * time.Second):
				fail(fmt.Errorf("acks are missing after 60 s: %d", js.PublishAsyncPending()))
			}
		}(c)
	}
	ready.Wait()
	start := time.Now()
	close(begin)
	wg.Wait()
	out.Messages = each * *clients
	out.Seconds = time.Since(start).Seconds()
	faults.tell(out)
}

// How long a stream may stay without an answer before sweep gives it up.
const silence = 60 * time.Second

// sweep: one message to each stream, all at once, each tried again until it is answered or given up: those are counted as silent. The
// time is that of the last.
func sweep(out *result) {
	var wg sync.WaitGroup
	var faults faults
	payload := make([]byte, *size)
	nc := connect()
	defer nc.Close()
	js, _ := nc.JetStream()
	latencies := make([][]float64, *streams)
	var silent atomic.Int64
	start := time.Now()
	for i := 0; i < *streams; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			subject := fmt.Sprintf("%s-%d.sweep", *stream, i)
			for {
				_, err := js.Publish(subject, payload, nats.AckWait(time.Second))
				if err == nil {
					break
				}
				faults.add(err)
				if time.Since(start) > silence {
					silent.Add(1)
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			latencies[i] = append(latencies[i], float64(time.Since(start).Microseconds())/1000)
		}(i)
	}
	wg.Wait()
	out.Messages = *streams
	out.Seconds = time.Since(start).Seconds()
	out.Silent = silent.Load()
	faults.tell(out)
	percentiles(out, latencies)
}

// synchronous: each client publishes one message at a time.
func synchronous(out *result) {
	var wg sync.WaitGroup
	payload := make([]byte, *size)
	each := *msgs / *clients
	latencies := make([][]float64, *clients)
	start := time.Now()
	for c := 0; c < *clients; c++ {
		wg.Add(1)
		go func(c int) {
			defer wg.Done()
			nc := connect()
			defer nc.Close()
			js, _ := nc.JetStream()
			for i := 0; i < each; i++ {
				sent := time.Now()
				if _, err := js.Publish(subjectOf(c), payload); err != nil {
					fail(err)
				}
				latencies[c] = append(latencies[c], float64(time.Since(sent).Microseconds())/1000)
			}
		}(c)
	}
	wg.Wait()
	out.Messages = each * *clients
	out.Seconds = time.Since(start).Seconds()
	percentiles(out, latencies)
}

func percentiles(out *result, latencies [][]float64) {
	var all []float64
	for _, part := range latencies {
		all = append(all, part...)
	}
	sort.Float64s(all)
	if len(all) == 0 {
		return
	}
	out.P50Ms = all[len(all)/2]
	out.P99Ms = all[len(all)*99/100]
	out.MaxMs = all[len(all)-1]
}

// consume: one durable pull consumer, fetches of `window`, every message acked.
func consume(out *result) {
	nc := connect()
	defer nc.Close()
	js, _ := nc.JetStream(nats.MaxWait(10 * time.Second))
	name := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	sub, err := js.PullSubscribe(*stream+".>", name, nats.BindStream(*stream), nats.AckExplicit(), nats.MaxAckPending(10000))
	if err != nil {
		fail(err)
	}
	var faults faults
	start := time.Now()
	received := 0
	for received < *msgs {
		batch, err := sub.Fetch(min(*window, *msgs-received), nats.MaxWait(5*time.Second))
		if errors.Is(err, nats.ErrNoResponders) && received == 0 && time.Since(start) < 5*time.Second {
			// nats-server says that a consumer exists before its leader listens.
			faults.add(err)
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			fail(fmt.Errorf("after %d messages: %w", received, err))
		}
		for _, msg := range batch {
			if err := msg.Ack(); err != nil {
				fail(err)
			}
		}
		received += len(batch)
	}
	if err := nc.Flush(); err != nil {
		fail(err)
	}
	out.Seconds = time.Since(start).Seconds()
	out.Messages = received
	faults.tell(out)
}

// ordered: one ordered consumer (push, flow control).
func ordered(out *result) {
	nc := connect()
	defer nc.Close()
	js, _ := nc.JetStream(nats.MaxWait(10 * time.Second))
	done := make(chan struct{})
	received := 0
	start := time.Now()
	_, err := js.Subscribe(*stream+".>", func(_ *nats.Msg) {
		received++
		if received == *msgs {
			close(done)
		}
	}, nats.OrderedConsumer(), nats.BindStream(*stream))
	if err != nil {
		fail(err)
	}
	select {
	case <-done:
	case <-time.After(120 * time.Second):
		fail(fmt.Errorf("only %d messages after 120 s", received))
	}
	out.Seconds = time.Since(start).Seconds()
}

// core: one publisher, one subscriber, no stream.
func core(out *result) {
	subscriber := connect()
	defer subscriber.Close()
	publisher := connect()
	defer publisher.Close()
	done := make(chan struct{})
	received := 0
	sub, err := subscriber.Subscribe("bench.core", func(_ *nats.Msg) {
		received++
		if received == *msgs {
			close(done)
		}
	})
	if err != nil {
		fail(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		fail(err)
	}
	if err := subscriber.Flush(); err != nil {
		fail(err)
	}
	payload := make([]byte, *size)
	start := time.Now()
	for i := 0; i < *msgs; i++ {
		if err := publisher.Publish("bench.core", payload); err != nil {
			fail(err)
		}
	}
	if err := publisher.Flush(); err != nil {
		fail(err)
	}
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		fail(fmt.Errorf("only %d messages arrived", received))
	}
	out.Seconds = time.Since(start).Seconds()
}
