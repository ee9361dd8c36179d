using SorsaOrt.Engines;

namespace SorsaOrt.Inference.Tests;

/// <summary>A model whose next token a function of the text so far decides, with certainty 1 − ε, or whose logits it gives.</summary>
internal sealed class ScriptedModel(int vocabularySize, Func<int[], float[]> logitsAfter, int? maxPositions = null) : LanguageModel
{
    private float[] _logits = [];

    public ScriptedModel(int vocabularySize, Func<int[], int> next, int? maxPositions = null)
        : this(vocabularySize, text => OneHot(vocabularySize, next(text)), maxPositions) { }

    /// <summary>Rows of every run.</summary>
    public List<int> RunRows { get; } = [];

    public override string Name => "script";

    public override int VocabularySize => vocabularySize;

    public override int? MaxPositions => maxPositions;

    public override bool MixesLengths => true;

    public override ReadOnlySpan<float> Logits(in TokenBatch batch)
    {
        RunRows.Add(batch.BatchSize);
        _logits = new float[batch.LabelPositions.Length * vocabularySize];
        for (int i = 0; i < batch.LabelPositions.Length; i++)
        {
            int place = (int)batch.LabelPositions[i], row = place / batch.SequenceLength * batch.SequenceLength;
            int[] text = Array.ConvertAll(batch.InputIds[row..(place + 1)].ToArray(), id => (int)id);
            logitsAfter(text).CopyTo(_logits, i * vocabularySize);
        }
        return _logits;
    }

    public override StepResult Loss(in TokenBatch batch) => throw new NotSupportedException();

    public override void Dispose() { }

    private protected override Continuation Begin(IReadOnlyList<int[]> prompts) => new RecomputedContinuation(this, prompts);

    private static float[] OneHot(int size, int id)
    {
        float[] logits = new float[size];
        logits[id] = 30;
        return logits;
    }
}
