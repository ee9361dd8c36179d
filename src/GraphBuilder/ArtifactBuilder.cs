using System.Diagnostics;
using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder.OrtTraining;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.GraphBuilder;

/// <summary><c>sorsa build-artifacts</c>: an exported model becomes a folder that can be trained.</summary>
/// <remarks>
/// Weights go from file to file: at any time one weight with its working copies is in memory per thread, and one that is being written.
/// </remarks>
public sealed class ArtifactBuilder : IDisposable
{
    private readonly BuildOptions _options;
    private readonly Action<string> _progress;
    private readonly Stopwatch _total = Stopwatch.StartNew();
    private readonly Stopwatch _svd = new();
    private readonly Model _source;
    private readonly PreparedModel _prepared;
    private readonly IReadOnlyList<LinearSite> _targets;
    private readonly PackedResiduals _packed;
    private readonly StagedFolder _folder;
    private readonly FactorFiles _given;
    private readonly List<TrainedParameter> _parameters = [];
    private readonly Dictionary<string, (long Offset, ElementType Type)> _residuals = new(StringComparer.Ordinal);
    private readonly List<(FrozenPart Part, long Offset)> _parts = [];
    private readonly Dictionary<LinearSite, FrozenResidual> _withParts = [];
    private long _parameterCount;
    private bool _takesSegments;

    private ArtifactBuilder(BuildOptions options, Action<string> progress)
    {
        _options = options;
        _progress = progress;
        _source = OnnxReader.Read(options.ModelPath);
        var working = OnnxReader.Read(options.ModelPath);
        try
        {
            _prepared = PreparedModel.From(working);
            QuantizedWeights.Refuse(_prepared.Model.Graph);
            _targets = TargetSelection.Select(_prepared.Sites, options.Targets);
            CheckTargets();
            _packed = new PackedResiduals(_targets, options.ResidualType ?? ElementType.Float32);
            _given = new FactorFiles(options.FactorFiles);
            _folder = new StagedFolder(options.OutputFolder, options.Force, ArtifactFiles.All);
        }
        catch
        {
            working.Dispose();
            _source.Dispose();
            _given?.Dispose();
            throw;
        }
    }

    /// <summary>Builds the folder. Nothing is left behind when it fails.</summary>
    /// <param name="options">What is asked for.</param>
    /// <param name="progress">Told in words what is going on.</param>
    /// <exception cref="ModelFormatException">The model file is broken.</exception>
    /// <exception cref="UnsupportedGraphException">The model holds something that cannot be trained.</exception>
    /// <exception cref="TargetException">Targets, rank or factors do not fit the model.</exception>
    public static BuildReport Build(BuildOptions options, Action<string>? progress = null)
    {
        using var builder = new ArtifactBuilder(options, progress ?? (_ => { }));
        return builder.Run();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _folder.Dispose();
        _given.Dispose();
        _prepared.Model.Dispose();
        _source.Dispose();
    }

    private BuildReport Run()
    {
        var graph = _prepared.Model.Graph;
        var (hiddenSize, vocabulary) = (HiddenSize(), checked((int)_prepared.Vocabulary));
        var family = ExportFamily.Describe(_source);
        WriteWeights();
        var frozen = MappedFile.Open(Path.Combine(_folder.Path, ArtifactFiles.FrozenData));
        _prepared.Model.Own(frozen);
        UseFrozen(frozen);
        _progress("writing the graphs");
        WriteModel(_source, ArtifactFiles.SourceModel, frozen);

        _takesSegments = SegmentMask.Apply(_prepared) > 0;
        foreach (var (part, offset) in _parts)
            DequantizedWeights.Add(graph, part, new MappedTensor(part.Type, part.Shape, frozen, offset, part.Type.ByteSize(part.Shape[0] * part.Shape[1])));
        var adapted = TrainableGraph.Adapt(_prepared, _targets, _options);
        LossAndGradients.AddLoss(graph, _prepared.Builder, graph.Outputs[0], _options.ComputeType, MixedPrecision.Factors(graph, adapted));
        WriteModel(_prepared.Model, ArtifactFiles.EvalModel, frozen);
        if (_options.Dropout > 0)
            AdapterDropout.Insert(graph, _prepared.Builder, adapted, _options.Dropout, _options.Seed);
        LossAndGradients.AddGradients(graph, _prepared.Builder, [.. adapted.SelectMany(a => a.All)], _options.Recompute);
        if (IsOfficial)
            InPlaceAccumulation.Run(_prepared.Model, _prepared.Builder);
        else
            TiedWeights.LeaveUnpacked(graph);
        WriteModel(_prepared.Model, ArtifactFiles.TrainingModel, frozen);
        WriteOptimizers();

        ArtifactSet.Write(_folder, Manifest(family, hiddenSize, vocabulary));
        return new BuildReport(_folder.FinalPath, family, ParameterCount(), _parameterCount,
            [.. _targets.Select(t => new BuiltTarget(t.Module, t.In, t.Out, RankOf, LossOf(t), StaysStored(t) ? t.Weight.Constant!.ElementType : null))], _svd.Elapsed.TotalSeconds, _total.Elapsed.TotalSeconds, graph.Nodes.Count);
    }

    private bool IsOfficial => _options.Format != ArtifactFormat.Ort;

    private void WriteOptimizers()
    {
        if (IsOfficial)
            OfficialArtifacts.Write(_folder, _parameters, _options.OfficialOptimizer);
        if (_options.Format != ArtifactFormat.OrtTraining)
            OptimizerGraphs.Write(_folder, IsOfficial ? ArtifactFiles.FlatOptimizerModel : ArtifactFiles.OptimizerModel);
    }

    private int RankOf => _options.Method == AdapterMethod.Full ? 0 : _options.Rank;

    private void CheckTargets()
    {
        TargetSelection.CheckRank(_targets, _options);
        if (IsOfficial && _prepared.Sites.FirstOrDefault(s => s.IsQuantized) is { } quantized)
            throw new TargetException($"{quantized.Module}: its weight '{quantized.WeightName}' is stored quantised ({quantized.Weight.Constant}), which the official runtime 1.19.2 was not tried with; use --format ort.");
        if (_targets.FirstOrDefault(t => t.IsShared) is { } shared)
            throw new TargetException($"{shared.Module}: its weight '{shared.WeightName}' is also read by "
                + $"{string.Join(", ", shared.OtherReaders.Select(n => $"'{n.Name}' ({n.OpType})"))} (tied embeddings); "
                + "training it would change the other silently. Leave it out of --targets, or export the model untied.");
    }

    // Parameters and residuals of the targets in order, the next ones computed while one is written; then every other large initializer.
    private void WriteWeights()
    {
        using var frozen = new FrozenData(_folder);
        using (var parameters = _folder.Create(ArtifactFiles.Parameters))
        {
            var writer = new SafetensorsWriter(parameters, DeclareParameters());
            WriteTargets(writer, frozen);
            writer.Complete();
            parameters.Complete();
        }
        _given.RefuseUnused();
        _progress("copying the other weights");
        foreach (var value in _source.Graph.Initializers)
        {
            if (value.Constant is MappedTensor { ByteLength: >= FrozenData.SmallestExternal } tensor && !IsReplacedBySame(value))
                _frozenPlaces[value.Name] = frozen.Append(tensor);
        }
        foreach (var value in _prepared.Model.Graph.Initializers)
        {
            if (value.Constant is (InMemoryTensor or ComputedTensor) and { ByteLength: >= FrozenData.SmallestExternal } tensor && !_residuals.ContainsKey(value.Name))
                _workingPlaces[value.Name] = frozen.Append(tensor);
        }
        frozen.Complete();
    }

    private readonly Dictionary<string, long> _frozenPlaces = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _workingPlaces = new(StringComparer.Ordinal);

    private void WriteTargets(SafetensorsWriter parameters, FrozenData frozen)
    {
        var begun = 0;
        var computed = new Queue<Task<TargetStart>>();
        _svd.Start();
        try
        {
            for (var written = 0; written < _targets.Count; written++)
            {
                _progress($"decomposing {_targets[written].Module} ({written + 1} of {_targets.Count})");
                Begin();
                var start = computed.Dequeue().GetAwaiter().GetResult();
                Begin();
                WriteTarget(start, parameters, frozen);
                WeightMemory.LetGo(2 * sizeof(float) * (long)start.Site.In * start.Site.Out);
            }
        }
        finally
        {
            // Nothing reads the model any more when this is left, whatever happened.
            Task.WhenAll(computed).ContinueWith(_ => { }, TaskScheduler.Default).Wait();
            _svd.Stop();
        }

        void Begin()
        {
            for (; computed.Count < Math.Max(1, _options.Threads) && begun < _targets.Count; begun++)
            {
                var (target, site) = (begun, _targets[begun]);
                computed.Enqueue(Task.Run(() => TargetStart.Compute(site, _options, _given, SeedOf(target))));
            }
        }
    }

    private ulong SeedOf(int target) => unchecked((ulong)_options.Seed * 0x9E3779B97F4A7C15UL + (ulong)target);

    private void WriteTarget(TargetStart start, SafetensorsWriter parameters, FrozenData frozen)
    {
        var module = start.Site.Module;
        if (start.A is not null)
            parameters.Write(module + ".A", start.A);
        if (start.S is not null)
            parameters.Write(module + ".S", start.S);
        if (start.B is not null)
            parameters.Write(module + ".B", start.B);
        if (start.Weight is not null)
            parameters.Write(module + ".weight", start.Weight);
        if (start.Residual is not { } frozenWeight)
            return;
        foreach (var part in frozenWeight.Parts)
            _parts.Add((part with { Data = null }, frozen.Append(FrozenResidual.Bytes(part.Data!))));
        if (frozenWeight.InPlace is not { } inPlace)
        {
            _withParts[start.Site] = frozenWeight with { Parts = [.. frozenWeight.Parts.Select(p => p with { Data = null })] };
            return;
        }
        var residual = start.Site.SliceStart is null ? inPlace : _packed.Add(start.Site, FrozenResidual.Bytes(inPlace));
        if (residual is not null)
            _residuals[start.Site.Weight.Name] = (frozen.Append(FrozenResidual.Bytes(residual)), _options.ResidualType ?? ElementType.Float32);
    }

    private List<SafetensorsDeclaration> DeclareParameters()
    {
        foreach (var site in _targets)
        {
            var r = _options.Rank;
            if (_options.Method == AdapterMethod.Full)
            {
                Declare(site, ParameterPart.Weight, "weight", Orthonormality(false), site.Out, site.In);
                continue;
            }
            Declare(site, ParameterPart.A, "A", Orthonormality(true), r, site.In);
            if (_options.Method == AdapterMethod.Sorsa)
                Declare(site, ParameterPart.S, "S", Artifacts.Orthonormality.None, r);
            Declare(site, ParameterPart.B, "B", Orthonormality(false), site.Out, r);
        }
        return [.. _parameters.Select(p => new SafetensorsDeclaration(p.Name, SafetensorsType.F32, p.Shape))];
    }

    private Artifacts.Orthonormality Orthonormality(bool rows) => _options.Method != AdapterMethod.Sorsa ? Artifacts.Orthonormality.None
        : rows ? Artifacts.Orthonormality.Rows : Artifacts.Orthonormality.Columns;

    private void Declare(LinearSite site, ParameterPart part, string suffix, Artifacts.Orthonormality orthonormal, params long[] shape)
    {
        var parameter = new TrainedParameter
        {
            Name = $"{site.Module}.{suffix}",
            Module = site.Module,
            Part = part,
            Shape = shape,
            Offset = _parameterCount,
            Orthonormal = orthonormal,
        };
        _parameters.Add(parameter);
        _parameterCount += parameter.ElementCount;
    }

    // The residual stands in the place of the weight where it has the same element type: merge writes the weight there again.
    private bool IsReplacedBySame(Value source) =>
        _residuals.TryGetValue(source.Name, out var residual) && residual.Type == source.Constant!.ElementType;

    private void UseFrozen(MappedFile frozen)
    {
        foreach (var value in _source.Graph.Initializers.ToArray())
        {
            if (value.Constant is MappedTensor tensor && (_frozenPlaces.TryGetValue(value.Name, out var at) || IsReplacedBySame(value) && Assign(_residuals[value.Name].Offset, out at)))
                _source.Graph.MakeInitializer(value, new MappedTensor(tensor.ElementType, tensor.Shape, frozen, at, tensor.ByteLength));
        }
        var graph = _prepared.Model.Graph;
        foreach (var value in graph.Initializers.ToArray())
        {
            var tensor = value.Constant!;
            if (_residuals.TryGetValue(value.Name, out var residual))
            {
                graph.MakeInitializer(value, new MappedTensor(residual.Type, tensor.Shape, frozen, residual.Offset, residual.Type.ByteSize(tensor.ElementCount)));
                value.Type = new TensorType(residual.Type, value.Shape);
            }
            else if (tensor is MappedTensor && _frozenPlaces.TryGetValue(value.StoredName, out var at) || _workingPlaces.TryGetValue(value.Name, out at))
            {
                graph.MakeInitializer(value, new MappedTensor(tensor.ElementType, tensor.Shape, frozen, at, tensor.ByteLength));
            }
        }
    }

    private ResidualLoss? LossOf(LinearSite site) => _withParts.GetValueOrDefault(site)?.Loss;

    private bool HasOwnResidual(LinearSite site) => _withParts.GetValueOrDefault(site)?.Parts[0].Name == FrozenResidual.NameOf(site);

    private bool StaysStored(LinearSite site) => site.IsQuantized && _options.Method != AdapterMethod.Full && !HasOwnResidual(site);

    private static bool Assign(long value, out long target)
    {
        target = value;
        return true;
    }

    private void WriteModel(Model model, string name, MappedFile frozen)
    {
        if (!ReferenceEquals(model, _source))
        {
            model.ProducerName = "sorsa";
            model.ProducerVersion = Version;
            if (IsOfficial)
                OfficialArtifacts.Restrict(model);
        }
        var inline = IsOfficial && !ReferenceEquals(model, _source) && frozen.Length <= OfficialArtifacts.InlineBytes;
        using var stream = _folder.Create(name);
        OnnxWriter.Write(model, stream, value => !inline && value.Constant is MappedTensor tensor && tensor.File == frozen
            ? new ExternalLocation(ArtifactFiles.FrozenData, tensor.Offset, tensor.ByteLength, []) : null);
        stream.Complete();
    }

    private static string Version => typeof(ArtifactBuilder).Assembly.GetName().Version?.ToString(3) ?? "0";

    private int HiddenSize() => _prepared.Sites.FirstOrDefault(s => s.Role == "lm_head")?.In
        ?? _prepared.Sites.FirstOrDefault(s => s.Role is "q_proj" or "gate_proj")?.In ?? _prepared.Sites[0].In;

    private long ParameterCount() => ExportFamily.Parameters(_source);

    private Manifest Manifest(string family, int hiddenSize, int vocabulary) => new()
    {
        Producer = "sorsa " + Version,
        Source = SourceDescription.Of(_options.ModelPath, _source, family),
        Method = Enum.Parse<TrainingMethod>(_options.Method.ToString()),
        Rank = RankOf,
        Alpha = _options.Alpha,
        Dropout = _options.Dropout > 0 ? _options.Dropout : null,
        Seed = _options.Seed,
        Svd = _options.Method is AdapterMethod.Full or AdapterMethod.Lora ? null : new SvdSettings
        {
            Method = _given.Any ? "given" : _options.Svd.Method.ToString().ToLowerInvariant(),
            Iterations = _options.Svd.Iterations,
            Library = _given.Any ? "none" : LinearAlgebra.Default.Name,
        },
        ResidualType = _targets.Any(StaysStored) ? Artifacts.Manifest.StoredResidual : (_options.ResidualType ?? ElementType.Float32).ShortName(),
        ComputeType = _options.ComputeType == ElementType.Float32 ? null : _options.ComputeType.ShortName(),
        Recompute = _options.Recompute,
        TokenInputs = _prepared.TokenInputNames,
        TakesSegments = _takesSegments,
        VocabularySize = vocabulary,
        HiddenSize = hiddenSize,
        Layers = _prepared.Layers,
        Targets = [.. _targets.Select(Describe)],
        Parameters = _parameters,
        ParameterCount = _parameterCount,
        ExternalTensors = SourceDescription.ExternalTensors(_source),
    };

    private TargetWeight Describe(LinearSite site) => new()
    {
        Module = site.Module,
        Role = site.Role,
        WeightName = site.WeightName,
        Transposed = site.Transposed,
        ElementType = (site.IsQuantized ? site.Weight : _source.Graph.FindInitializer(site.Weight.Name)!).Constant!.ElementType.ShortName(),
        In = site.In,
        Out = site.Out,
        SliceStart = site.SliceStart,
        Rank = RankOf,
        Scale = _options.Scale,
        ResidualName = _options.Method == AdapterMethod.Full ? site.Module + ".weight" : HasOwnResidual(site) ? FrozenResidual.NameOf(site) : site.WeightName,
        StaysStored = StaysStored(site) ? true : null,
        ResidualLoss = LossOf(site)?.OfResidual,
        WeightLoss = LossOf(site)?.OfWeight,
    };
}
