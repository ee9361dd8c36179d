namespace SorsaOrt.Adapters;

/// <summary>The two factors of a LoRA or PiSSA adapter: y = x·Wrᵀ + scale·(x·Aᵀ)·Bᵀ.</summary>
/// <param name="Rank">r.</param>
/// <param name="OutFeatures">Rows of W [out, in].</param>
/// <param name="InFeatures">Columns of W.</param>
/// <param name="A">[r, in] row-major.</param>
/// <param name="B">[out, r] row-major.</param>
public sealed record LoraFactors(int Rank, int OutFeatures, int InFeatures, float[] A, float[] B)
{
    /// <summary>LoRA's start as in PEFT: A uniform in ±1/√in (Kaiming with a = √5), B = 0; W itself stays frozen, scale alpha/r.</summary>
    public static LoraFactors Lora(int outFeatures, int inFeatures, int rank, ulong seed)
    {
        var a = new float[rank * inFeatures];
        new Xoshiro256(seed).FillUniform(a, 1 / Math.Sqrt(inFeatures));
        return new LoraFactors(rank, outFeatures, inFeatures, a, new float[outFeatures * rank]);
    }

    /// <summary>PiSSA's start as in PEFT: A = √(S/scale)·Vᵀ, B = U·√(S/scale), r largest; frozen is W − scale·B·A.</summary>
    /// <param name="principal">SVD of the weight, from <see cref="SorsaFactors.Decompose"/>.</param>
    /// <param name="scale">alpha/r, above 0.</param>
    public static LoraFactors Pissa(SorsaFactors principal, double scale)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(scale);
        var (rank, inFeatures) = (principal.Rank, principal.InFeatures);
        var a = new float[principal.A.Length];
        var b = new float[principal.B.Length];
        for (var i = 0; i < rank; i++)
        {
            var root = Math.Sqrt(principal.S[i] / scale);
            for (var j = 0; j < inFeatures; j++)
                a[(i * inFeatures) + j] = (float)(root * principal.A[(i * inFeatures) + j]);
            for (var j = i; j < b.Length; j += rank)
                b[j] = (float)(root * principal.B[j]);
        }
        return new LoraFactors(rank, principal.OutFeatures, inFeatures, a, b);
    }
}
