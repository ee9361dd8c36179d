using SorsaOrt.Artifacts;

namespace SorsaOrt.Engines;

/// <summary>Trains over plain ONNX Runtime sessions: the graphs are standard operators, the state is flat buffers that the sessions look into. Not thread-safe.</summary>
/// <remarks>
/// Parameters, gradients and moments are bound once. A gradient's <c>accumulation.buffer</c> and <c>accumulation.out</c> are bound to the
/// same memory: the graph's last node for it is <c>out = buffer + new</c> with two inputs, which runs after <c>new</c> is complete and
/// reads each element of the buffer no later than it writes it (Gemm with C = buffer first copies C to its output, here itself).
/// </remarks>
public sealed class SessionEngine : ITrainingEngine
{
    private readonly ArtifactSet _artifacts;
    private readonly EngineOptions _options;
    private readonly List<IDisposable> _owned = [];
    private readonly TrainingState _state;
    private readonly TokenInputs _tokens;
    private readonly FlatBuffer<float> _scalars;
    private readonly BoundRun? _training;
    private readonly OptimizerStep? _optimizer;
    private readonly DropoutKeys? _dropout;
    private EvaluationRun? _evaluation;

    private SessionEngine(ArtifactSet artifacts, EngineOptions options)
    {
        _artifacts = artifacts;
        _options = options;
        try
        {
            var manifest = artifacts.Manifest;
            _state = Own(new TrainingState(manifest.Parameters, manifest.ParameterCount, options.Training));
            _tokens = Own(new TokenInputs(manifest.TokenInputs));
            _scalars = Own(new FlatBuffer<float>(2));
            using (var initial = artifacts.OpenParameters())
                ParameterFile.Read(initial, manifest.Parameters, _state.Values.Sink());
            if (options.Training)
            {
                _training = BindTraining(Own(new OrtSession(artifacts.PathOf(ArtifactFiles.TrainingModel), options)));
                _dropout = manifest.Dropout is > 0 ? Own(new DropoutKeys()) : null;
                _optimizer = Own(new OptimizerStep(artifacts, _state, options with { ProfilePrefix = null, Tf32 = false }));
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Opens the artifacts' graphs with the parameters as built.</summary>
    /// <exception cref="EngineException">A provider is missing, or ONNX Runtime refuses a graph.</exception>
    public static SessionEngine Open(ArtifactSet artifacts, EngineOptions options)
    {
        ArgumentNullException.ThrowIfNull(artifacts);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfNegative(options.Threads);
        if (artifacts.Manifest.ComputeType == "bf16" && options.Device.Kind != DeviceKind.Cuda)
        {
            var message = $"'{artifacts.Folder}' was built with --compute-dtype bf16, for which ONNX Runtime has kernels on CUDA alone, not on {options.Device}; "
                + "use --device cuda, or build with --compute-dtype fp32 or fp16.";
            throw new EngineException(message) { IsModelRefused = true };
        }
        if (options.Training && !artifacts.Has(ArtifactFiles.NormModel))
            throw new EngineException($"'{artifacts.Folder}' was built with --format ort-training, for the official training runtime alone; build with --format both to train here too.");
        return new SessionEngine(artifacts, options);
    }

    /// <inheritdoc/>
    public long Step => _state.Step;

    /// <inheritdoc/>
    public ArtifactSet Artifacts => _artifacts;

    /// <inheritdoc/>
    public TrainingState State => _state;

    /// <summary>Trainable parameters, flat, as <see cref="Manifest.Parameters"/> lays them out.</summary>
    public FlatBuffer<float> Parameters => _state.Values;

    /// <summary>Sum of lossScale·∂LossSum/∂P over the micro-batches since the last update, flat.</summary>
    public FlatBuffer<float> Gradients => _state.Gradients;

    /// <summary>Adam's m, flat.</summary>
    public FlatBuffer<float> FirstMoments => _state.FirstMoments;

    /// <summary>Adam's v, flat.</summary>
    public FlatBuffer<float> SecondMoments => _state.SecondMoments;

    /// <inheritdoc/>
    public StepResult Accumulate(in TokenBatch batch, double lossScale)
    {
        var training = _training ?? throw new InvalidOperationException("The engine was opened without training.");
        _tokens.Bind(training, batch);
        _dropout?.Bind(training, batch);
        _scalars[LossScaleSlot] = (float)lossScale;
        training.Run();
        return new StepResult(_scalars[LossSumSlot], batch.LabelPositions.Length);
    }

    /// <inheritdoc/>
    public UpdateResult Update(AdamWOptions options, double learningRate)
    {
        var optimizer = _optimizer ?? throw new InvalidOperationException("The engine was opened without training.");
        var result = optimizer.Run(options, learningRate);
        DiscardGradients();
        return result;
    }

    /// <inheritdoc/>
    public void DiscardGradients() => _state.Gradients.Clear();

    /// <inheritdoc/>
    public bool IsFinite => FlatBuffers.IsFinite(_state.Values.View(), _state.Values.Length) && FlatBuffers.IsFinite(_state.FirstMoments.View(), _state.FirstMoments.Length)
        && FlatBuffers.IsFinite(_state.SecondMoments.View(), _state.SecondMoments.Length);

    /// <inheritdoc/>
    public void Save(CheckpointWriter checkpoint)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        if (_training is null)
            throw new InvalidOperationException("The engine was opened without training.");
        checkpoint.WriteParameters(_state.Values.View());
        checkpoint.WriteMoments(_state.FirstMoments.View(), _state.SecondMoments.View());
    }

    /// <inheritdoc/>
    /// <remarks>Opened without training, it takes the parameters alone.</remarks>
    public void Load(Checkpoint checkpoint)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        checkpoint.ReadParameters(_state.Values.Sink());
        if (_training is null)
            return;
        checkpoint.ReadMoments(_state.FirstMoments.Sink(), _state.SecondMoments.Sink());
        _state.Step = checkpoint.State.Step;
        DiscardGradients();
    }

    /// <inheritdoc/>
    public StepResult Evaluate(in TokenBatch batch) => new(Evaluation.Loss(batch), batch.LabelPositions.Length);

    /// <summary>Logits [N, vocabulary] at <see cref="TokenBatch.LabelPositions"/>; they hold until the next call.</summary>
    public ReadOnlySpan<float> Logits(in TokenBatch batch) => Evaluation.Logits(batch);

    /// <inheritdoc/>
    public void Dispose()
    {
        // In reverse: runs before the sessions and the memory they use.
        for (var i = _owned.Count - 1; i >= 0; i--)
            _owned[i].Dispose();
        _owned.Clear();
    }

    private const int LossScaleSlot = 0;
    private const int LossSumSlot = 1;

    // Its session is loaded when first needed: training without evaluation never pays for it.
    private EvaluationRun Evaluation => _evaluation ??= Own(new EvaluationRun(_artifacts, _options with { PackWeights = false, Tf32 = false }, _state, _tokens));

    private BoundRun BindTraining(OrtSession session)
    {
        var run = Own(new BoundRun(session))
            .Input(GraphNames.LossScale, _scalars.View(LossScaleSlot))
            .Output(GraphNames.LossSum, _scalars.View(LossSumSlot));
        foreach (var p in _state.Parameters)
        {
            long[] shape = [.. p.Shape];
            run.Input(p.Name, _state.Values.View(p.Offset, shape))
                .Input(GraphNames.GradientIn(p.Name), _state.Gradients.View(p.Offset, shape))
                .Output(GraphNames.GradientOut(p.Name), _state.Gradients.View(p.Offset, shape));
        }
        return run;
    }

    private T Own<T>(T resource) where T : IDisposable
    {
        _owned.Add(resource);
        return resource;
    }
}
