// A bare Go gRPC echo: what Go's gRPC server costs when nothing is scored.
//
// Usage: echo PORT. Messages are bytes, so nothing is parsed. /bench.Echo/Echo gives the message back, /bench.Echo/Count
// says in eight bytes, big-endian, how many were given back.
package main

import (
	"context"
	"encoding/binary"
	"log"
	"net"
	"os"
	"sync/atomic"

	"google.golang.org/grpc"
)

type raw struct{ bytes []byte }

// identity takes messages for the bytes that they are.
type identity struct{}

func (identity) Marshal(message interface{}) ([]byte, error) { return message.(*raw).bytes, nil }
func (identity) Unmarshal(data []byte, message interface{}) error {
	message.(*raw).bytes = data
	return nil
}
func (identity) Name() string   { return "identity" }
func (identity) String() string { return "identity" }

var echoed uint64

func echo(_ interface{}, _ context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
	message := new(raw)
	if err := decode(message); err != nil {
		return nil, err
	}
	atomic.AddUint64(&echoed, 1)
	return message, nil
}

func count(_ interface{}, _ context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
	if err := decode(new(raw)); err != nil {
		return nil, err
	}
	reply := make([]byte, 8)
	binary.BigEndian.PutUint64(reply, atomic.LoadUint64(&echoed))
	return &raw{reply}, nil
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: echo PORT")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.CustomCodec(identity{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*interface{})(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Echo", Handler: echo},
			{MethodName: "Count", Handler: count},
		},
	}, struct{}{})
	log.Fatal(server.Serve(listener))
}
