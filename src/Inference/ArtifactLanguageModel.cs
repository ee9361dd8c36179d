using SorsaOrt.Artifacts;
using SorsaOrt.Engines;

namespace SorsaOrt.Inference;

/// <summary>A model in training: the artifacts' graph with the parameters of a checkpoint, not yet merged. It has no cache, so decoding runs whole texts.</summary>
public sealed class ArtifactLanguageModel : LanguageModel
{
    private readonly SessionEngine _engine;

    private ArtifactLanguageModel(SessionEngine engine) => _engine = engine;

    /// <inheritdoc/>
    public override string Name => _engine.Artifacts.Folder;

    /// <inheritdoc/>
    public override int VocabularySize => _engine.Artifacts.Manifest.VocabularySize;

    /// <inheritdoc/>
    public override int? MaxPositions => _engine.Artifacts.Manifest.MaxPositions;

    /// <inheritdoc/>
    public override bool MixesLengths => true;

    /// <summary>Opens the artifacts with the parameters of a checkpoint, or as built.</summary>
    /// <exception cref="EngineException">A provider is missing, or ONNX Runtime refuses the graph.</exception>
    public static ArtifactLanguageModel Open(ArtifactSet artifacts, Checkpoint? checkpoint, EngineOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        var engine = SessionEngine.Open(artifacts, options with { Training = false });
        try
        {
            checkpoint?.ReadParameters(engine.Parameters.Sink());
            return new ArtifactLanguageModel(engine);
        }
        catch
        {
            engine.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override ReadOnlySpan<float> Logits(in TokenBatch batch)
    {
        CheckIds(batch.InputIds);
        return _engine.Logits(batch);
    }

    /// <inheritdoc/>
    public override StepResult Loss(in TokenBatch batch)
    {
        CheckIds(batch.InputIds);
        CheckIds(batch.LabelIds);
        return _engine.Evaluate(batch);
    }

    /// <inheritdoc/>
    public override void Dispose() => _engine.Dispose();

    private protected override Continuation Begin(IReadOnlyList<int[]> prompts) => new RecomputedContinuation(this, prompts);
}
