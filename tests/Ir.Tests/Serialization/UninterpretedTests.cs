using Google.Protobuf;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.Ir.Serialization.Proto;
using Xunit;
using AttributeType = SorsaOrt.Ir.Serialization.Proto.AttributeProto.Types.AttributeType;

namespace SorsaOrt.Ir.Tests.Serialization;

/// <summary>What the IR does not interpret survives reading and writing; damage to it never crashes the reader.</summary>
public sealed class UninterpretedTests
{
    [Fact]
    public void EveryField_SurvivesReadAndWrite()
    {
        var before = Everything();
        var after = RoundTrip(before);
        Assert.Equal([], Differences.Between(before, after));
        Assert.True(before.Equals(after));
    }

    [Fact]
    public void Subgraph_ReadsTheValuesOfTheGraphAround()
    {
        using var file = new ModelFile(Everything().ToByteArray());
        using var model = OnnxReader.Read(file.Path);
        var branch = (Graph)model.Graph.Nodes.Single(n => n.OpType == "If").Attributes["then_branch"].Content;
        Assert.Same(model.Graph.Inputs[0], branch.Nodes[0].Inputs[0]);
        Assert.Contains(branch.Nodes[0], model.Graph.Inputs[0].Uses.Select(u => u.Node));
    }

    [Theory]
    [InlineData(ElementType.Float32)]
    [InlineData(ElementType.Float64)]
    [InlineData(ElementType.Int64)]
    [InlineData(ElementType.UInt64)]
    [InlineData(ElementType.UInt32)]
    [InlineData(ElementType.Int32)]
    [InlineData(ElementType.Int16)]
    [InlineData(ElementType.UInt16)]
    [InlineData(ElementType.Int8)]
    [InlineData(ElementType.UInt8)]
    [InlineData(ElementType.Bool)]
    [InlineData(ElementType.Float16)]
    [InlineData(ElementType.BFloat16)]
    [InlineData(ElementType.Complex64)]
    [InlineData(ElementType.Complex128)]
    [InlineData(ElementType.UInt4)]
    [InlineData(ElementType.Int4)]
    [InlineData(ElementType.Float8E5M2)]
    public void TypedField_ReadsLikeRawData_AndIsWrittenBackTyped(ElementType type)
    {
        byte[] bytes = [.. Enumerable.Range(0, (int)type.ByteSize(3)).Select(i => type == ElementType.Bool ? (byte)(i & 1) : (byte)(40 * i + 130 & 0xFF))];
        var proto = Everything();
        proto.Graph.Initializer.Clear();
        var tensor = new TensorProto { Name = "w", DataType = (int)type, Dims = { 3 } };
        TypedFields.Put(tensor, type, bytes);
        proto.Graph.Initializer.Add(tensor);
        using var file = new ModelFile(proto.ToByteArray());
        using var model = OnnxReader.Read(file.Path);
        Assert.Equal(bytes, ((InMemoryTensor)model.Graph.FindInitializer("w")!.Constant!).Bytes.ToArray());
        Assert.True(proto.Equals(ModelProto.Parser.ParseFrom(OnnxWriter.ToBytes(model))));
    }

    [Fact]
    public void ReplacedInitializer_KeepsItsDocumentation()
    {
        using var file = new ModelFile(Everything().ToByteArray());
        using var model = OnnxReader.Read(file.Path);
        model.Graph.MakeInitializer(model.Graph.FindInitializer("w")!, InMemoryTensor.Of([1f, 2f, 3f], 3));
        var written = ModelProto.Parser.ParseFrom(OnnxWriter.ToBytes(model)).Graph.Initializer[0];
        Assert.Equal("the weight", written.DocString);
        Assert.Equal("v", written.MetadataProps[0].Value);
    }

    [Fact]
    public void DamagedBytes_AreReadOrRefused()
    {
        var bytes = Everything().ToByteArray();
        using var file = new ModelFile(bytes);
        for (var at = 0; at < bytes.Length; at++)
        {
            foreach (var bit in new[] { 1, 4, 7 })
            {
                var damaged = (byte[])bytes.Clone();
                damaged[at] ^= (byte)(1 << bit);
                file.Replace(damaged);
                ReadOrRefuse(file.Path);
            }
            file.Replace(bytes[..at]);
            ReadOrRefuse(file.Path);
        }
    }

    private static void ReadOrRefuse(string path)
    {
        try
        {
            using var model = OnnxReader.Read(path);
            OnnxWriter.ToBytes(model);
        }
        catch (ModelFormatException e)
        {
            Assert.Contains(path, e.Message, StringComparison.Ordinal);
        }
    }

    private static ModelProto RoundTrip(ModelProto proto)
    {
        using var file = new ModelFile(proto.ToByteArray());
        using var model = OnnxReader.Read(file.Path);
        return ModelProto.Parser.ParseFrom(OnnxWriter.ToBytes(model));
    }

    private static StringStringEntryProto Entry(string key) => new() { Key = key, Value = "v" };

    private static TypeProto TensorOf(params long[] dims)
    {
        var shape = new TensorShapeProto();
        foreach (var d in dims)
            shape.Dim.Add(new TensorShapeProto.Types.Dimension { DimValue = d, Denotation = "DATA_BATCH" });
        return new TypeProto { TensorType = new() { ElemType = 1, Shape = shape }, Denotation = "TENSOR" };
    }

    // A model with something in every field of the format.
    private static ModelProto Everything()
    {
        var graph = new GraphProto { Name = "g", DocString = "a graph" };
        graph.Input.Add(new ValueInfoProto { Name = "x", Type = TensorOf(3), DocString = "in", MetadataProps = { Entry("i") } });
        graph.Input.Add(new ValueInfoProto { Name = "c", Type = new TypeProto { TensorType = new() { ElemType = 9, Shape = new() } } });
        graph.Input.Add(new ValueInfoProto { Name = "seq", Type = new TypeProto { SequenceType = new() { ElemType = TensorOf(2) } } });
        graph.Input.Add(new ValueInfoProto { Name = "map", Type = new TypeProto { MapType = new() { KeyType = 7, ValueType = TensorOf(2) } } });
        graph.Input.Add(new ValueInfoProto { Name = "opt", Type = new TypeProto { OptionalType = new() { ElemType = TensorOf(2) } } });
        graph.Input.Add(new ValueInfoProto { Name = "opaque", Type = new TypeProto { OpaqueType = new() { Domain = "d", Name = "n" } } });
        graph.Input.Add(new ValueInfoProto { Name = "untyped" });
        graph.Initializer.Add(new TensorProto
        {
            Name = "w",
            DataType = 1,
            Dims = { 3 },
            FloatData = { 1, 2, 3 },
            DocString = "the weight",
            MetadataProps = { Entry("w") },
        });
        graph.SparseInitializer.Add(new SparseTensorProto
        {
            Values = new TensorProto { Name = "sparse", DataType = 1, Dims = { 1 }, FloatData = { 1 } },
            Indices = new TensorProto { DataType = 7, Dims = { 1 }, Int64Data = { 2 } },
            Dims = { 3 },
        });
        graph.QuantizationAnnotation.Add(new TensorAnnotation { TensorName = "w", QuantParameterTensorNames = { Entry("SCALE_TENSOR") } });
        graph.MetadataProps.Add(Entry("graph"));
        graph.Node.Add(If());
        graph.Node.Add(Plain());
        graph.ValueInfo.Add(new ValueInfoProto { Name = "y", Type = TensorOf(3), MetadataProps = { Entry("y") } });
        graph.ValueInfo.Add(new ValueInfoProto { Name = "nowhere", Type = TensorOf(5) });
        graph.ValueInfo.Add(new ValueInfoProto { Name = "w", Type = TensorOf(3) });
        graph.Output.Add(new ValueInfoProto { Name = "z", Type = TensorOf(3) });
        graph.Output.Add(new ValueInfoProto { Name = "y", Type = new TypeProto { TensorType = new() { ElemType = 1 } } });
        var model = new ModelProto
        {
            IrVersion = 11,
            ProducerName = "p",
            ProducerVersion = "",
            Domain = "dom",
            ModelVersion = 0,
            DocString = "doc",
            Graph = graph,
            OpsetImport = { new OperatorSetIdProto { Domain = "ai.onnx", Version = 21 }, new OperatorSetIdProto { Domain = "custom", Version = 1 } },
            MetadataProps = { Entry("m"), Entry("m") },
            Configuration = { new DeviceConfigurationProto { Name = "conf", NumDevices = 2, Device = { "a", "b" } } },
            TrainingInfo = { new TrainingInfoProto { Algorithm = new GraphProto { Name = "step" }, UpdateBinding = { Entry("w") } } },
            Functions =
            {
                new FunctionProto
                {
                    Name = "F", Domain = "custom", Input = { "a" }, Output = { "b" }, Attribute = { "k" },
                    OpsetImport = { new OperatorSetIdProto { Domain = "", Version = 21 } }, Overload = "o", MetadataProps = { Entry("f") },
                    Node = { new NodeProto { OpType = "Elu", Input = { "a" }, Output = { "b" }, Attribute = { new AttributeProto { Name = "alpha", RefAttrName = "k", Type = AttributeType.Float } } } },
                },
            },
        };
        model.MergeFrom((byte[])[0xC2, 0x3E, 0x05, .. "hello"u8]);
        return model;
    }

    private static NodeProto If() => new()
    {
        OpType = "If",
        Name = "branch",
        Input = { "c" },
        Output = { "y" },
        Attribute =
        {
            new AttributeProto { Name = "then_branch", Type = AttributeType.Graph, G = Branch("Relu", "x") },
            new AttributeProto { Name = "else_branch", Type = AttributeType.Graph, G = Branch("Neg", "sparse") },
        },
    };

    private static GraphProto Branch(string op, string captured) => new()
    {
        Name = op,
        Initializer = { new TensorProto { Name = "inner", DataType = 7, Dims = { 1 }, Int64Data = { 5 } } },
        Node = { new NodeProto { OpType = op, Input = { captured }, Output = { "inner_out" } } },
        Output = { new ValueInfoProto { Name = "inner_out", Type = TensorOf(3) } },
    };

    private static NodeProto Plain() => new()
    {
        OpType = "F",
        Domain = "custom",
        Overload = "o",
        Name = "",
        DocString = "a node",
        Input = { "y", "", "w" },
        Output = { "z", "" },
        MetadataProps = { Entry("n") },
        DeviceConfigurations =
        {
            new NodeDeviceConfigurationProto
            {
                ConfigurationId = "conf", PipelineStage = 1,
                ShardingSpec =
                {
                    new ShardingSpecProto
                    {
                        TensorName = "y", Device = { 0, -1 }, IndexToDeviceGroupMap = { new IntIntListEntryProto { Key = -1, Value = { 0, 1 } } },
                        ShardedDim = { new ShardedDimProto { Axis = 0, SimpleSharding = { new SimpleShardedDimProto { DimValue = 3, NumShards = 2 } } } },
                    },
                },
            },
        },
        Attribute =
        {
            new AttributeProto { Name = "f", Type = AttributeType.Float, F = 0, DocString = "zero" },
            new AttributeProto { Name = "i", Type = AttributeType.Int, I = -3 },
            new AttributeProto { Name = "s", Type = AttributeType.String, S = ByteString.CopyFrom(0xFF, 0) },
            new AttributeProto { Name = "floats", Type = AttributeType.Floats, Floats = { float.NaN, 1 } },
            new AttributeProto { Name = "ints", Type = AttributeType.Ints, Ints = { 1, 2 } },
            new AttributeProto { Name = "none", Type = AttributeType.Ints },
            new AttributeProto { Name = "strings", Type = AttributeType.Strings, Strings = { ByteString.CopyFromUtf8("a") } },
            new AttributeProto { Name = "t", Type = AttributeType.Tensor, T = new TensorProto { Name = "const", DataType = 1, Dims = { 1 }, RawData = ByteString.CopyFrom(0, 0, 0, 1) } },
            new AttributeProto { Name = "text", Type = AttributeType.Tensor, T = new TensorProto { DataType = 8, Dims = { 1 }, StringData = { ByteString.CopyFromUtf8("b") } } },
            new AttributeProto { Name = "tensors", Type = AttributeType.Tensors, Tensors = { new TensorProto { DataType = 7, Dims = { 0 } } } },
            new AttributeProto { Name = "graphs", Type = AttributeType.Graphs, Graphs = { new GraphProto { Name = "empty" } } },
            new AttributeProto { Name = "tp", Type = AttributeType.TypeProto, Tp = TensorOf(1) },
            new AttributeProto { Name = "sparse", Type = AttributeType.SparseTensor, SparseTensor = new SparseTensorProto { Dims = { 1 } } },
        },
    };

    private sealed class ModelFile : IDisposable
    {
        private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sorsa-model-");

        public ModelFile(byte[] bytes) => Replace(bytes);

        public string Path => System.IO.Path.Combine(_folder.FullName, "model.onnx");

        public void Replace(byte[] bytes) => File.WriteAllBytes(Path, bytes);

        public void Dispose() => _folder.Delete(recursive: true);
    }
}
