using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Engines;
using SorsaOrt.Ir;

namespace SorsaOrt.Inference;

/// <summary>An exported or merged model.onnx, with a key/value cache (text-generation-with-past, onnxruntime-genai) or without.</summary>
public sealed class OnnxLanguageModel : LanguageModel
{
    private readonly Device _device;
    private readonly InferenceSession _session;
    private readonly RunOptions _runOptions = new();
    private readonly OrtIoBinding _binding;
    private readonly OrtMemoryInfo _cacheMemory;
    private readonly UpcastModel? _copy;
    private long[] _ids = [];
    private long[] _mask = [];
    private long[] _positions = [];
    private float[] _logits = [];

    private OnnxLanguageModel(string path, ModelInterface io, InferenceSession session, Device device, int? maxPositions, UpcastModel? copy)
    {
        _copy = copy;
        Name = path;
        Interface = io;
        MaxPositions = maxPositions;
        _device = device;
        _session = session;
        _binding = session.CreateIoBinding();
        _cacheMemory = device.Memory;
        VocabularySize = io.VocabularySize ?? Probe();
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <inheritdoc/>
    public override int VocabularySize { get; }

    /// <inheritdoc/>
    public override int? MaxPositions { get; }

    /// <inheritdoc/>
    public override bool MixesLengths => !HasCache || Interface.TakesGaps;

    /// <summary>Whether a step runs only the new tokens.</summary>
    public bool HasCache => Interface.Cache.Count > 0;

    internal ModelInterface Interface { get; }

    internal bool CacheIsInHostMemory => _device.Kind == DeviceKind.Cpu;

    /// <summary>Opens a model file.</summary>
    /// <param name="path">An .onnx file; external data lies beside it, and so may config.json or genai_config.json, for the number of positions.</param>
    /// <param name="options">Device and threads.</param>
    /// <param name="notice">Told when a device without kernels for what the file stores runs a copy that computes in float32.</param>
    /// <exception cref="ModelFormatException">The file is damaged or not ONNX.</exception>
    /// <exception cref="UnsupportedGraphException">It is no causal language model, or has an input that cannot be fed.</exception>
    /// <exception cref="EngineException">A provider is missing, or ONNX Runtime refuses the graph.</exception>
    public static OnnxLanguageModel Open(string path, EngineOptions options, Action<string>? notice = null)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(options);
        var io = ModelInterface.Read(path);
        try
        {
            return Open(path, path, io, options, null);
        }
        catch (EngineException e) when (e.InnerException is OnnxRuntimeException { Message: var reason } && reason.Contains("NotImplemented", StringComparison.Ordinal))
        {
            if (UpcastModel.Of(path) is not { } copy)
                throw;
            notice?.Invoke($"{path} cannot run on {options.Device} as it is stored ({reason.Split('\n')[0]}); it runs computing in float32");
            return Open(path, copy.Path, ModelInterface.Read(copy.Path), options, copy);
        }
    }

    // Takes over the copy.
    private static OnnxLanguageModel Open(string path, string file, ModelInterface io, EngineOptions options, UpcastModel? copy)
    {
        InferenceSession? session = null;
        try
        {
            // Packed weights make decoding a third to two thirds faster (docs/performance.md) and cost no memory: ORT drops the originals it has read.
            session = OrtSession.Load(file, options with { PackWeights = true });
            return new OnnxLanguageModel(path, io, session, options.Device, ContextLength.Beside(path), copy);
        }
        catch
        {
            session?.Dispose();
            copy?.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override ReadOnlySpan<float> Logits(in TokenBatch batch)
    {
        int count = batch.LabelPositions.Length, size = checked(count * VocabularySize);
        if (_logits.Length < size)
            _logits = new float[size];
        using var outputs = Run(batch);
        for (int i = 0; i < count; i++)
            LogitRows.Copy(outputs[0], batch.LabelPositions[i], _logits.AsSpan(i * VocabularySize, VocabularySize));
        return _logits.AsSpan(0, size);
    }

    /// <inheritdoc/>
    public override StepResult Loss(in TokenBatch batch)
    {
        CheckIds(batch.LabelIds);
        using var outputs = Run(batch);
        if (_logits.Length < VocabularySize)
            _logits = new float[VocabularySize];
        var row = _logits.AsSpan(0, VocabularySize);
        double sum = 0;
        for (int i = 0; i < batch.LabelIds.Length; i++)
        {
            LogitRows.Copy(outputs[0], batch.LabelPositions[i], row);
            sum += CrossEntropy.Of(row, (int)batch.LabelIds[i]);
        }
        return new StepResult(sum, batch.LabelIds.Length);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _binding.Dispose();
        _session.Dispose();
        _runOptions.Dispose();
        _copy?.Dispose();
    }

    private protected override Continuation Begin(IReadOnlyList<int[]> prompts) =>
        HasCache ? new CachedContinuation(this, prompts) : new RecomputedContinuation(this, prompts);

    /// <summary>Runs tokens after a cache. The result's first value is the logits [B, S, vocabulary]; the cache's follow, where it is kept.</summary>
    internal IDisposableReadOnlyCollection<OrtValue> Run(in TokenFeed feed, KeyValueCache past, bool keepCache)
    {
        var inputs = new List<OrtValue>(3);
        try
        {
            _binding.ClearBoundInputs();
            _binding.ClearBoundOutputs();
            foreach (string name in Interface.TokenInputs)
            {
                var (memory, length) = name switch
                {
                    ModelInterface.InputIds => (feed.Ids, feed.Width),
                    ModelInterface.AttentionMask => (feed.Mask, feed.Total),
                    _ => (feed.Positions, feed.Width),
                };
                var value = OrtValue.CreateTensorValueFromMemory(OrtMemoryInfo.DefaultInstance, memory.AsMemory(0, feed.Rows * length), [feed.Rows, length]);
                inputs.Add(value);
                _binding.BindInput(name, value);
            }
            _binding.BindOutputToDevice(ModelInterface.Logits, OrtMemoryInfo.DefaultInstance);
            for (int i = 0; i < past.Values.Count; i++)
            {
                _binding.BindInput(Interface.Cache[i].Past, past.Values[i]);
                if (keepCache)
                    _binding.BindOutputToDevice(Interface.Cache[i].Present, _cacheMemory);
            }
            _session.RunWithBinding(_runOptions, _binding);
            return _binding.GetOutputValues();
        }
        catch (OnnxRuntimeException e)
        {
            throw new EngineException($"{Name} failed on {_device} with {feed.Rows} × {feed.Width} tokens after {feed.Total - feed.Width}: {e.Message}", e);
        }
        finally
        {
            _binding.ClearBoundInputs();
            _binding.ClearBoundOutputs();
            inputs.ForEach(v => v.Dispose());
        }
    }

    private IDisposableReadOnlyCollection<OrtValue> Run(in TokenBatch batch)
    {
        CheckIds(batch.InputIds);
        int size = checked(batch.BatchSize * batch.SequenceLength);
        if (_ids.Length < size)
            (_ids, _mask, _positions) = (new long[size], new long[size], new long[size]);
        batch.InputIds.CopyTo(_ids);
        if (batch.AttentionMask.IsEmpty)
            _mask.AsSpan(0, size).Fill(1);
        else
            batch.AttentionMask.CopyTo(_mask);
        if (batch.PositionIds.IsEmpty)
        {
            for (int i = 0; i < size; i++)
                _positions[i] = i % batch.SequenceLength;
        }
        else
        {
            batch.PositionIds.CopyTo(_positions);
        }
        using var past = KeyValueCache.Empty(Interface.Cache, batch.BatchSize);
        return Run(new TokenFeed(batch.BatchSize, batch.SequenceLength, batch.SequenceLength, _ids, _mask, _positions), past, keepCache: false);
    }

    /// <summary>Vocabulary of a model whose file does not say it: one token is run.</summary>
    private int Probe()
    {
        using var past = KeyValueCache.Empty(Interface.Cache, 1);
        using var outputs = Run(new TokenFeed(1, 1, 1, [0], [1], [0]), past, keepCache: false);
        return checked((int)outputs[0].GetTensorTypeAndShape().Shape[^1]);
    }
}

/// <summary>Tokens of one run: arrays that hold at least [B, S] ids, [B, past + S] mask and [B, S] positions.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct TokenFeed(int Rows, int Width, int Total, long[] Ids, long[] Mask, long[] Positions);
