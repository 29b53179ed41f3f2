// A hundred real memberlist nodes in one process on 127.0.0.1, with memberlist's LAN defaults: how
// long until all see all, how fast a user broadcast is, what the cluster costs at rest, and when ten
// nodes that vanish are gone from every view. One JSON line per figure, named as the rows of
// bench/sim. Run by `./dev bench peers-memberlist`.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// counters of what all nodes put on the wire, IP and UDP headers included.
type counters struct{ packets, bytes atomic.Int64 }

const udpHeaderBytes = 28

// countingTransport is memberlist's own NetTransport with a meter on its datagrams.
type countingTransport struct {
	*memberlist.NetTransport
	sent *counters
}

func (t *countingTransport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	t.sent.packets.Add(1)
	t.sent.bytes.Add(int64(len(b) + udpHeaderBytes))
	return t.NetTransport.WriteToAddress(b, a)
}

func (t *countingTransport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// message is a user broadcast; passing it on is the delegate's business in memberlist.
type message string

func (m message) Invalidates(memberlist.Broadcast) bool { return false }
func (m message) Message() []byte                       { return []byte(m) }
func (m message) Finished()                             {}

type node struct {
	list  *memberlist.Memberlist
	queue memberlist.TransmitLimitedQueue
	mutex sync.Mutex
	seen  map[string]bool
	heard func(string)
}

func (n *node) NodeMeta(int) []byte { return nil }
func (n *node) NotifyMsg(b []byte) {
	text := string(b)
	n.mutex.Lock()
	known := n.seen[text]
	n.seen[text] = true
	n.mutex.Unlock()
	if known {
		return
	}
	n.queue.QueueBroadcast(message(text))
	n.heard(text)
}
func (n *node) GetBroadcasts(overhead, limit int) [][]byte {
	return n.queue.GetBroadcasts(overhead, limit)
}
func (n *node) LocalState(bool) []byte        { return nil }
func (n *node) MergeRemoteState([]byte, bool) {}
func (n *node) say(text string)               { n.NotifyMsg([]byte(text)) }
func (n *node) sees() int                     { return n.list.NumMembers() }
func cpuSeconds() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "memberlist:", err)
		os.Exit(1)
	}
}

func start(index int, sent *counters, heard func(string)) *node {
	config := memberlist.DefaultLANConfig()
	config.Name = fmt.Sprintf("node-%d", index)
	config.BindAddr = "127.0.0.1"
	config.Logger = log.New(io.Discard, "", 0)
	inner, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{"127.0.0.1"}, BindPort: 0, Logger: config.Logger})
	must(err)
	config.BindPort = inner.GetAutoBindPort()
	config.AdvertiseAddr = "127.0.0.1"
	config.AdvertisePort = config.BindPort
	config.Transport = &countingTransport{inner, sent}
	n := &node{seen: map[string]bool{}, heard: heard}
	n.queue.RetransmitMult = config.RetransmitMult
	n.queue.NumNodes = func() int {
		if n.list == nil {
			return 1
		}
		return n.list.NumMembers()
	}
	config.Delegate = n
	n.list, err = memberlist.Create(config)
	must(err)
	return n
}

func waitFor(limit time.Duration, done func() bool) (time.Duration, bool) {
	began := time.Now()
	for !done() {
		if time.Since(began) > limit {
			return time.Since(began), false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began), true
}

func quantile(values []float64, q float64) float64 {
	sort.Float64s(values)
	at := int(q*float64(len(values))+0.999999) - 1
	if at < 0 {
		at = 0
	}
	return values[at]
}

func row(name string, params map[string]any, value float64, unit string, spread map[string]any) {
	line := map[string]any{"name": "peers/memberlist/" + name, "params": params, "value": value, "unit": unit}
	if spread != nil {
		line["spread"] = spread
	}
	for key, variable := range map[string]string{"date": "WAGGLE_BENCH_DATE", "commit": "WAGGLE_BENCH_COMMIT"} {
		if value := os.Getenv(variable); value != "" {
			line[key] = value
		}
	}
	text, err := json.Marshal(line)
	must(err)
	fmt.Println(string(text))
}

func broadcasts(nodes []*node, arrivals chan time.Time, count int, params map[string]any) {
	var most, last []float64
	wanted := len(nodes) - 1
	for i := 0; i < count; i++ {
		for len(arrivals) > 0 {
			<-arrivals
		}
		began := time.Now()
		nodes[(i*37)%len(nodes)].say(fmt.Sprintf("broadcast %d %s", i, string(make([]byte, 48))))
		<-arrivals // the origin's own
		for got := 1; got <= wanted; got++ {
			select {
			case at := <-arrivals:
				if got*100 >= wanted*99 && (got-1)*100 < wanted*99 {
					most = append(most, at.Sub(began).Seconds()*1000)
				}
				if got == wanted {
					last = append(last, at.Sub(began).Seconds()*1000)
				}
			case <-time.After(5 * time.Second):
				got = wanted
			}
		}
		time.Sleep(time.Duration(500+i*61%500) * time.Millisecond)
	}
	for name, values := range map[string][]float64{"broadcast_to_99_percent": most, "broadcast_to_last_node": last} {
		if len(values) == 0 {
			continue
		}
		row(name, params, quantile(values, 0.99), "ms (p99)",
			map[string]any{"p50": quantile(values, 0.5), "max": quantile(values, 1), "count": len(values)})
	}
}

func main() {
	count := flag.Int("nodes", 100, "nodes in this process")
	rest := flag.Duration("rest", 30*time.Second, "how long the cluster at rest is measured")
	runs := flag.Int("broadcasts", 30, "user broadcasts, one at a time")
	flag.Parse()
	var sent counters
	arrivals := make(chan time.Time, 100000)
	heard := func(string) { arrivals <- time.Now() }
	began := time.Now()
	nodes := make([]*node, *count)
	for i := range nodes {
		nodes[i] = start(i, &sent, heard)
	}
	first := net.JoinHostPort("127.0.0.1", fmt.Sprint(nodes[0].list.LocalNode().Port))
	for _, n := range nodes[1:] {
		_, err := n.list.Join([]string{first})
		must(err)
	}
	joined := time.Since(began)
	_, complete := waitFor(120*time.Second, func() bool {
		for _, n := range nodes {
			if n.sees() != *count {
				return false
			}
		}
		return true
	})
	params := map[string]any{"nodes": *count, "cores": runtime.NumCPU(), "version": "0.5.3"}
	// Above 0 for a node that missed answers: a machine too busy for its figures to mean much.
	score := 0
	for _, n := range nodes {
		score += n.list.GetHealthScore()
	}
	row("join", params, (time.Since(began) - joined).Seconds(), "s after the last join",
		map[string]any{"since_first_start_s": time.Since(began).Seconds(), "complete": complete, "health_score_sum": score})

	time.Sleep(10 * time.Second) // the news of the joins dies out
	packets, bytes, cpu := sent.packets.Load(), sent.bytes.Load(), cpuSeconds()
	time.Sleep(*rest)
	per := rest.Seconds() * float64(*count)
	row("idle_packets", params, float64(sent.packets.Load()-packets)/per, "packets/s per node", nil)
	row("idle_bytes", params, float64(sent.bytes.Load()-bytes)/per, "B/s per node",
		map[string]any{"counts": "datagrams; push/pull goes over TCP"})
	row("idle_cpu", params, (cpuSeconds()-cpu)/per*100, "% of a core per node", nil)
	broadcasts(nodes, arrivals, *runs, params)

	// Ten vanish: their sockets close and nothing says good-bye.
	victims := *count / 10
	died := time.Now()
	for _, n := range nodes[:victims] {
		must(n.list.Shutdown())
	}
	var views []float64
	gone := make([]bool, *count)
	_, complete = waitFor(120*time.Second, func() bool {
		all := true
		for i, n := range nodes[victims:] {
			if gone[i] {
				continue
			}
			if n.sees() == *count-victims {
				gone[i] = true
				views = append(views, time.Since(died).Seconds())
			} else {
				all = false
			}
		}
		return all
	})
	spread := map[string]any{"killed": victims, "complete": complete}
	if len(views) > 0 {
		spread["p50"] = quantile(views, 0.5)
		spread["max"] = quantile(views, 1)
		row("failure_seen_by_all", params, quantile(views, 1), "s (all of them gone from the last view)", spread)
	}
}
